"""Trainer: trains a model on the answers so far."""
