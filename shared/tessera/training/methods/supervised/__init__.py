"""Supervised training from scratch: cross entropy on the labels so far (MEAL and baselines)."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.training import METHODS, MethodTraits
from tessera.training.augment import Augment
from tessera.training.methods.supervised.params import Supervised
from tessera.training.phase import Phase, Setup


@METHODS.register("supervised", Supervised, MethodTraits(several_processes=True))
def supervised(params: Supervised, setup: Setup) -> Iterator[Phase]:
    """Yield one phase of cross entropy on the labelled pixels."""
    from tessera.training.methods.supervised.phase import SupervisedPhase

    yield SupervisedPhase(params, setup)


__all__ = ["Augment", "Supervised", "supervised"]
