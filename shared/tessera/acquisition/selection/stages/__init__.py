"""Stages of a selection, one module each."""
