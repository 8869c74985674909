"""Base of every training method's parameters, which describe it to recipe rules, planner and trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from tessera.registry import Params
from tessera.training.samples import Needs


class TrainingParams(Params):
    """Base of a training method's parameters. The defaults describe a method of one phase on whole labelled images."""

    def needs(self) -> Needs:
        """Return which data the method reads."""
        return Needs()

    def phases(self) -> tuple[str, ...]:
        """Return the names of its phases, in order."""
        return ("train",)

    def in_round(self, last: bool) -> dict[str, Any]:
        """Return the parameters that differ in a round (``last``: the last one of the run) from the recipe's.

        A method knows how to train, not which round it is, so that equal trainings share a job key.
        """
        return {}

    def leaves(self) -> frozenset[str]:
        """Return the names of the artefacts that it leaves beside its networks."""
        return frozenset()

    def bank_tap(self) -> str | None:
        """Return the map whose pixels its artefact ``memory_bank`` holds; None: it leaves no bank."""
        return None

    def auxiliaries(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the auxiliary networks of scores that it trains itself and leaves as artefacts of their names.

        Each name comes with the parameters that a score must have to read it.
        """
        return {}

    def needs_prototypes(self) -> bool:
        """Return whether its network must have a cosine classifier."""
        return False

    def shared_rows(self) -> int:
        """Return how many processes can share a step: each needs a row of its smallest batch."""
        return int(getattr(self, "batch", 1))

    def decodes_cells(self) -> bool:
        """Return whether it computes the decoder at some cells alone.

        Not every network can; and it trains in one process, because a part of a batch may have none of the cells.
        """
        return False

    def compiles(self) -> bool:
        """Return whether torch compiles its networks; it trains in one process then."""
        return False

    def measured_by(self) -> Mapping[str, Any]:
        """Return the parameters of the architecture in which the evaluated network differs from the acquiring one."""
        return {}

    def trains_on_bank(self) -> bool:
        """Return whether the training itself reads its memory bank."""
        return False

    def trains_projection(self) -> bool:
        """Return whether one of its losses reaches the network's projection head."""
        return False

    def freezes_backbone(self) -> bool:
        """Return whether the backbone keeps its initial weights."""
        return False

    def trains_undefined(self) -> bool:
        """Return whether its networks have one class more than the data set, the last one, for undefined pixels."""
        return False


class Schedule(Params):
    """Learning rate over time. ``step``: × gamma every ``every`` epochs; ``poly``: × (1 − t/T)^power at each step t."""

    name: Literal["none", "step", "poly"] = "none"
    every: int = Field(default=20, ge=1)
    gamma: float = Field(default=0.1, gt=0.0, le=1.0)
    power: float = Field(default=0.9, gt=0.0)
    floor: float = Field(default=0.0, ge=0.0, exclude_if=lambda value: value == 0.0)
    """No rate falls below this one (MulActSeg's code: 1e-6); a rate that starts below it is constant."""

    def rate(self, start: float, epoch: int, step: int, steps: int, epochs: int) -> float:
        """Return the learning rate that began with ``start``; the other arguments as in `factor`."""
        return max(start * self.factor(epoch, step, steps, epochs), min(start, self.floor))

    def factor(self, epoch: int, step: int, steps: int, epochs: int) -> float:
        """Return the factor of the learning rate in ``epoch`` (from 0) at ``step`` of ``steps``."""
        if self.name == "step":
            return float(self.gamma ** (epoch // self.every))
        if self.name == "poly":
            return float((1.0 - (epoch * steps + step) / (epochs * steps)) ** self.power)
        return 1.0
