"""The pages, one module each: a function per address, which returns HTML."""
