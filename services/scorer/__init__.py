"""Scorer: scores of regions by the current model, one fused pass per image."""
