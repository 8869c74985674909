"""One module per architecture: its parameters and how it is built. Cheap to import; torch is imported when building."""
