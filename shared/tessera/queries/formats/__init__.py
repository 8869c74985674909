"""One module per query format; putting a file here registers it."""
