"""Embedder: features of regions and the projections fitted on them."""
