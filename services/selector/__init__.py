"""Selector: an ordered list of regions from scores, embedding, budget and seed."""
