"""One module per oracle; putting a file here registers it."""
