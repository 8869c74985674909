"""Tessera: active learning for semantic segmentation, as a set of services."""

__version__ = "0.1.0"
