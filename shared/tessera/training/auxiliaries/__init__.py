"""Auxiliary networks, one cheap registration each; the training itself is in a module that imports torch."""
