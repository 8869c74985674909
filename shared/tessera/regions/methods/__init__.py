"""One module a partition method; putting a file here registers it."""
