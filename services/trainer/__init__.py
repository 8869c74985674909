"""Trainer: a model from the answers so far."""
