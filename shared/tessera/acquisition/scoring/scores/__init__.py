"""Scores, one module each: a cheap registration and, where pixels are read, a kernel in a module of its own."""
