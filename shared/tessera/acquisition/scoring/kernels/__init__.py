"""Compiled pixel scores; imported by the scores' factories, in the compute child only."""
