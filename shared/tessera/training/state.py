"""State of a training: all it needs to go on after a stop as if it had never stopped."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from tessera.training.artefacts import Artefact
from tessera.training.history import Epoch, Part
from tessera.training.phase import Phase, Role, State
from tessera.training.streams import Streams

States = dict[Role, State]


@dataclass
class LoopState:
    """State of the loop between two epochs: nested dicts and lists of tensors, arrays, numbers and texts."""

    number: int = 0
    """The current phase, from 0."""
    epoch: int = 0
    """Its finished epochs."""
    history: list[Epoch] = field(default_factory=list)
    losses: list[Part] = field(default_factory=list)
    kept: tuple[float, int, States] | None = None
    """Best val mIoU (accuracy, for whole images) of the current phase, its epoch over all phases, and its weights."""
    kept_epoch: int = 0
    served: States = field(default_factory=dict)
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    ended: list[Mapping[str, Any]] = field(default_factory=list)
    """Weights of every module of each ended phase."""
    phase: Mapping[str, Any] | None = None
    """`remember` of the current phase; None before its first epoch has ended."""


def modules_of(phase: Phase) -> dict[str, Any]:
    """Return the copies of the weights of every module."""
    return {name: copy.deepcopy(one.state_dict()) for name, one in phase.modules.items()}


def load_modules(phase: Phase, states: Mapping[str, Any]) -> None:
    """Put weights back into every module."""
    for name, one in phase.modules.items():
        one.load_state_dict(states[name])


def remember(phase: Phase, streams: Streams) -> dict[str, Any]:
    """Copy the state of a phase: modules, optimisers, whatever else it names, its streams and torch's generators."""
    return {
        "modules": modules_of(phase),
        "optimisers": {name: copy.deepcopy(one.state_dict()) for name, one in phase.optimisers.items()},
        "others": {name: copy.deepcopy(dict(one.state_dict())) for name, one in phase.others.items()},
        "streams": copy.deepcopy(streams.state_dict()),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def recall(phase: Phase, streams: Streams, state: Mapping[str, Any]) -> None:
    """Restore the state that `remember` copied."""
    load_modules(phase, state["modules"])
    for name, one in phase.optimisers.items():
        one.load_state_dict(copy.deepcopy(state["optimisers"][name]))
    for name, other in phase.others.items():
        other.load_state_dict(copy.deepcopy(state["others"][name]))
    streams.load_state_dict(copy.deepcopy(state["streams"]), phase)
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
