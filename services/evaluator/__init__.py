"""Evaluator: confusion counts of a model on val or test, one image at a time."""
