"""Constraints between chosen regions, one module each."""
