"""Projections of features into the space in which diversity is measured, one module each."""
