"""One module a training method: its parameters and the call into the loop. Cheap to import."""
