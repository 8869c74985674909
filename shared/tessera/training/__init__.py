"""Training methods: one readable loop, one module a method; importing this package does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tessera.registry import Registry

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork


class Picture(Protocol):
    """An image that is decoded whenever numpy asks for it, so that a large set is never in memory as a whole."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3), known without decoding."""
        ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        """RGB (H, W, 3) uint8; not to be written to."""
        ...


@dataclass(frozen=True)
class Sample:
    """One training or validation example: RGB (H, W, 3) uint8 and class indices (H, W) uint8, 255 ignored.

    With a ``box`` (y0, x0, y1, x1) the image is a whole one and the target covers the box only.
    """

    image: NDArray[np.uint8] | Picture
    target: NDArray[np.uint8]
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Epoch:
    """One row of the history: epoch from 1, mean loss a pixel, learning rate of the epoch, val mIoU or NaN."""

    epoch: int
    loss: float
    learning_rate: float
    val_miou: float


@dataclass(frozen=True)
class Trained:
    """Weights of the kept epoch, the history of every epoch, and which epoch (from 1) was kept."""

    state: dict[str, NDArray[Any]]
    history: tuple[Epoch, ...]
    kept_epoch: int


Progress = Callable[[float, str], None]
"""Called after every epoch with the finished fraction in 0..1 and a note."""


@dataclass(frozen=True)
class MethodTraits:
    """What is known of a training method in advance."""

    learns_classes: bool = False
    """It learns from answers that are a set of classes without pixels."""
    trains_projection: bool = False
    """One of its losses reaches the network's projection head."""


METHODS: Registry[Callable[..., Trained], MethodTraits] = Registry("training", "tessera.training.methods", MethodTraits)
"""Method name → function(params, model, samples, seed, classes, val, checkpoint_policy, progress, device)."""

CHECKPOINT_POLICIES = ("last", "best_val")


def train(
    name: str,
    params_json: str,
    model: SegmentationNetwork,
    samples: Sequence[Sample],
    seed: int,
    classes: int,
    val: Sequence[Sample] | None = None,
    checkpoint_policy: str = "last",
    progress: Progress | None = None,
    device: str = "cpu",
) -> Trained:
    """Train ``model`` from a fresh head on ``samples`` by the method ``name``; changes ``model`` in place.

    The head is drawn anew from ``seed``; the backbone starts as given. Bit for bit repeatable on CPU for the same seed,
    inputs and number of threads. ``best_val`` measures ``val`` after every epoch and keeps the first best. BadInput:
    no samples, shapes that differ within a sample, classes out of range, a policy without what it needs, divergence.
    """
    from tessera.training.checks import check

    params = METHODS.parameters(name, params_json)
    check(samples, classes, "training")
    check(val or (), classes, "validation", needed=checkpoint_policy == "best_val")
    if checkpoint_policy not in CHECKPOINT_POLICIES:
        from tessera.errors import BadInput

        raise BadInput(f"checkpoint: unknown policy {checkpoint_policy!r}; known: {', '.join(CHECKPOINT_POLICIES)}")
    report = progress or (lambda _fraction, _note: None)
    return METHODS.entry(name).function(
        params, model, samples, seed, classes, val if checkpoint_policy == "best_val" else None, report, device
    )
