"""One module per architecture: its parameters and how it is built. Cheap to import: only building imports torch."""
