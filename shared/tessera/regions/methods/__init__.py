"""One module per partition method; putting a file here registers it."""
