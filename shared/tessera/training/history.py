"""Results of a training: networks by their role, artefacts, and the history of its losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tessera.training.artefacts import Artefact
from tessera.training.phase import State, Update


@dataclass(frozen=True)
class Epoch:
    """One row of the history: epoch from 1 over all phases, mean loss, learning rate at its end, val mIoU or NaN."""

    epoch: int
    loss: float
    learning_rate: float
    val_miou: float


@dataclass(frozen=True)
class Part:
    """Mean over one epoch of one named part of the losses, or of another value that a method logs."""

    epoch: int
    phase: str
    part: str
    value: float


@dataclass(frozen=True)
class Trained:
    """Networks, history and artefacts; ``reported`` has the weights of epoch ``kept_epoch`` (from 1)."""

    state: State
    """The network that chooses the next questions."""
    history: tuple[Epoch, ...]
    kept_epoch: int
    reported: State | None = None
    """The network that is evaluated; None: the acquiring one."""
    features: State | None = None
    """The network whose maps describe regions; None: the acquiring one."""
    losses: tuple[Part, ...] = ()
    artefacts: Mapping[str, Artefact] = field(default_factory=dict)
    images_per_second: float = 0.0
    """Of the steps of this attempt, without validation and checkpoints; 0: nobody gave a clock."""


class Meter:
    """Weighted means over the steps of one epoch."""

    def __init__(self) -> None:
        self.samples = 0
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self._lead = [0.0, 0.0]

    def add(self, update: Update, values: Mapping[str, float], leads: bool) -> None:
        """Count one update; the loss of an epoch is the mean of the updates with ``leads``."""
        for key, value in (*values.items(), *update.seen.items()):
            self._sums[key] = self._sums.get(key, 0.0) + value * update.weight
            self._weights[key] = self._weights.get(key, 0.0) + update.weight
        if leads:
            self._lead[0] += math.fsum(values.values()) * update.weight
            self._lead[1] += update.weight

    def loss(self) -> float:
        """Return the mean loss of the leading optimiser; 0 where nothing had weight."""
        return self._lead[0] / max(self._lead[1], 1)

    def means(self) -> dict[str, float]:
        """Return the mean of every named part."""
        return {key: total / max(self._weights[key], 1) for key, total in self._sums.items()}
