"""Figures and pictures of a pool and of a batch chosen from it; nothing here selects."""

from __future__ import annotations

from tessera.acquisition.diagnostics.batch import Spread, class_entropy, spread
from tessera.acquisition.diagnostics.plane import plane
from tessera.acquisition.diagnostics.redundancy import Redundancy, redundancy

__all__ = ["Redundancy", "Spread", "class_entropy", "plane", "redundancy", "spread"]
