"""The interface of training loop and method: a method yields phases, a phase yields the updates of each step.

Importing this module does not import torch, so that a method's module stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tessera.training.artefacts import Artefact
from tessera.training.samples import TrainingData

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tessera.models.network import SegmentationNetwork
    from tessera.training.distributed import Processes

Role = Literal["acquisition", "reported", "features"]
"""Role of a network: it acquires (chooses the next questions); it is evaluated; its maps describe regions (unless
another does, the acquiring one)."""

State = dict[str, NDArray[Any]]
"""Every parameter and buffer of a network by name."""


def _alone() -> Processes:
    from tessera.training.distributed import ALONE

    return ALONE


@dataclass(frozen=True)
class Setup:
    """Inputs of a method, from which it builds its phases."""

    data: TrainingData
    classes: int
    """Classes of the data set; a method that trains undefined has one output more."""
    seed: int
    device: torch.device
    network: Callable[[], SegmentationNetwork]
    """function() → a fresh network: backbone with its initial (pretrained) weights, head drawn from the seed."""
    progress: Callable[[float, str], None]
    previous: State | None = None
    """The acquiring network of the round before, where `Needs.previous` asks for it."""
    measured: Callable[[], SegmentationNetwork] | None = None
    """function() → a fresh network for the role ``reported``, where `TrainingParams.measured_by` says that it
    differs."""
    group: Processes = field(default_factory=_alone)
    """The processes that share every batch."""

    def for_reported(self) -> Setup:
        """Return the setup of a phase whose network is measured and does not acquire."""
        return self if self.measured is None else replace(self, network=self.measured, measured=None)


@dataclass(frozen=True)
class Iteration:
    """One iteration: its samples, and the generators of its draws."""

    epoch: int
    """Epoch, from 1."""
    number: int
    """Step in the epoch, from 0."""
    steps: int
    """Number of steps of an epoch."""
    index: NDArray[np.int64]
    """The batch: indices of the phase's samples; with several processes, this one's part of it."""
    feeds: Mapping[str, NDArray[np.int64]]
    """The batch of each of the phase's feeds, of all processes: ``Setup.group.part`` says which rows are this one's."""
    rng: np.random.Generator
    """Generator of draws that belong to the samples, such as flips."""
    draws: Callable[[str], np.random.Generator]
    """Generator of any other purpose; a new purpose never shifts the draws of another."""
    whole: NDArray[np.int64]
    """The batch of all processes: draws are made for all of it."""
    part: slice
    """Where ``index`` lies in ``whole``."""


@dataclass(frozen=True)
class Update:
    """One step of one optimiser: it minimises the sum of ``losses``."""

    optimiser: str
    losses: Mapping[str, Tensor]
    """Weighted scalar parts by name; each is logged."""
    weight: float = 1.0
    """Number of things that the parts average, such as labelled pixels: it weights this step in an epoch's mean."""
    seen: Mapping[str, float] = field(default_factory=dict)
    """Further values to log, such as the share of accepted pseudo labels."""
    counts: Mapping[str, float] = field(default_factory=dict)
    """Number of things that a part, or a value of ``seen``, averages in this process, where it is not ``weight``: where
    several processes share a batch, it weights them."""


class Stateful(Protocol):
    """State beside modules and optimisers that a continued training needs: a memory bank, a running mean."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return arrays, tensors, numbers and texts by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> object:
        """Go on from what ``state_dict`` returned."""
        ...


@dataclass(frozen=True)
class Feed:
    """An endless shuffled stream of ``count`` samples, ``batch`` per step, independent of every other stream."""

    count: int
    batch: int


class Phase:
    """One part of a training. The constructor sets the fields below; ``step`` is one iteration.

    The loop owns epochs, batches, random streams, learning rates, backward passes, optimiser steps, validation, the
    checkpoint policy, history and progress.
    """

    epochs: int
    samples: int
    """Number of samples; an epoch sees each once, unless ``steps`` says otherwise."""
    batch: int
    steps: int | None = None
    """Steps of an epoch, from an endless stream of the samples; None: as many as one pass over them has batches."""
    feeds: Mapping[str, Feed] = {}
    """Further streams by name."""
    modules: Mapping[str, nn.Module]
    """Every network by name."""
    optimisers: Mapping[str, torch.optim.Optimizer]
    """Every optimiser by name; the learning rate of each parameter group is its initial value. The history has the rate
    of the first one, and the loss of the first update of each step."""
    others: Mapping[str, Stateful] = {}
    """Other state to save and restore, so that a training goes on as if it had never stopped."""
    serves: Mapping[Role, str]
    """Role → module when the training ends; a later phase overrides an earlier one."""
    frozen: bool = False
    """Whether the backbone of the served network is frozen, so that validation may keep its maps."""
    precision: torch.dtype
    """Dtype of convolutions, in validation as in training."""

    prepares: bool = False
    """Whether the loop calls `prepare` with each iteration before the step of the one before it. Then all draws from
    ``at.rng`` are made there."""

    def prepare(self, at: Iteration) -> None:
        """Make the iteration's draws and begin what its step needs, such as decoding its images in a thread."""

    def close(self) -> None:
        """End what `prepare` began; the loop calls it when the phase has ended, however it did."""

    def begin_epoch(self) -> None:
        """Set train or eval mode of every module."""
        for module in self.modules.values():
            module.train()

    def step(self, at: Iteration) -> Iterator[Update]:
        """Yield the updates of one iteration, each computed with the weights that the one before left.

        After each ``yield`` the loop has run the backward pass and the optimiser's step. Code after the last ``yield``
        is the place to update an EMA teacher or a memory bank.
        """
        raise NotImplementedError

    def rate(self, optimiser: str, start: float, at: Iteration) -> float:
        """Return the learning rate of a parameter group that began with ``start``."""
        return start

    def artefacts(self) -> Mapping[str, Artefact]:
        """Return the phase's artefacts. Its modules are in eval mode by then and hold the acquiring weights."""
        return {}


Method = Callable[[Any, Setup], Iterator[Phase]]
"""function(params, setup): yields the phases of ``params.phases()``, each made when the one before has ended.

The modules of an ended phase hold the acquiring weights. Torch's random state is the phase's own while it is made and
run.
"""
