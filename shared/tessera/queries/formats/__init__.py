"""One module a query format; putting a file here registers it."""
