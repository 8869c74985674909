"""One module an oracle; putting a file here registers it."""
