"""What every training method's parameters say of it before it runs: read by recipe rules, planner and trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from tessera.registry import Params
from tessera.training.samples import Needs


class TrainingParams(Params):
    """Base of a training method's parameters. The defaults describe a method of one phase on whole labelled images."""

    def needs(self) -> Needs:
        """What the method reads."""
        return Needs()

    def phases(self) -> tuple[str, ...]:
        """Names of its phases, in order."""
        return ("train",)

    def in_round(self, last: bool) -> dict[str, Any]:
        """Parameters that differ in a round (``last``: the last one of the run) from what the recipe says.

        A method is told how to train, not which round it is, so that equal trainings share a job key.
        """
        return {}

    def leaves(self) -> frozenset[str]:
        """Names of the artefacts that it leaves beside its networks."""
        return frozenset()

    def bank_tap(self) -> str | None:
        """The network's map whose pixels its artefact ``memory_bank`` holds; None: it leaves no bank."""
        return None

    def auxiliaries(self) -> Mapping[str, Mapping[str, Any]]:
        """Auxiliary networks of scores that it trains itself and leaves as artefacts of their names.

        Beside each name stand the parameters that a score must have to read it.
        """
        return {}

    def needs_prototypes(self) -> bool:
        """Whether its network must have a cosine classifier."""
        return False

    def trains_on_bank(self) -> bool:
        """Whether the training itself reads its memory bank, whoever else does."""
        return False

    def trains_projection(self) -> bool:
        """Whether one of its losses reaches the network's projection head."""
        return False

    def freezes_backbone(self) -> bool:
        """Whether the backbone keeps the weights that it starts with."""
        return False

    def trains_undefined(self) -> bool:
        """Whether its networks have one class more than the data set, the last one, for undefined pixels."""
        return False


class Schedule(Params):
    """Learning rate over time. ``step``: × gamma every ``every`` epochs; ``poly``: × (1 − t/T)^power a step."""

    name: Literal["none", "step", "poly"] = "none"
    every: int = Field(default=20, ge=1)
    gamma: float = Field(default=0.1, gt=0.0, le=1.0)
    power: float = Field(default=0.9, gt=0.0)
    floor: float = Field(default=0.0, ge=0.0, exclude_if=lambda value: value == 0.0)
    """No rate falls below this one (MulActSeg's code: 1e-6); one that starts below it stays as it is."""

    def rate(self, start: float, epoch: int, step: int, steps: int, epochs: int) -> float:
        """Learning rate that began with ``start``; the other arguments as in `factor`."""
        return max(start * self.factor(epoch, step, steps, epochs), min(start, self.floor))

    def factor(self, epoch: int, step: int, steps: int, epochs: int) -> float:
        """Multiplier of the learning rate in ``epoch`` (from 0) at ``step`` of ``steps``."""
        if self.name == "step":
            return float(self.gamma ** (epoch // self.every))
        if self.name == "poly":
            return float((1.0 - (epoch * steps + step) / (epochs * steps)) ** self.power)
        return 1.0
