"""Progress messages of a training: epoch, losses, learning rate, speed and the time that is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tessera.training.history import Meter

_SECONDS = 1.0


class Teller:
    """Reports one phase, ``number`` of ``names``, with ``epochs`` epochs of which ``done`` had ended before.

    Reports at the end of every epoch, and, given a ``clock`` (seconds), once per second.
    """

    def __init__(
        self,
        tell: Callable[[float, str], None],
        clock: Callable[[], float] | None,
        names: tuple[str, ...],
        number: int,
        epochs: int,
        done: int,
    ) -> None:
        self._tell, self._clock, self._names, self._number = tell, clock, names, number
        self._epochs, self._first = epochs, done
        self._began = self._epoch_began = self._told = clock() if clock else 0.0

    def begin_epoch(self) -> None:
        """Start measuring the speed."""
        self._epoch_began = self._clock() if self._clock else 0.0

    def step(self, meter: Meter, epoch: int, number: int, steps: int, rate: float) -> None:
        """Report after step ``number`` (from 0) of ``steps`` in ``epoch``."""
        if self._clock is not None and self._clock() - self._told >= _SECONDS:
            self._say(meter, epoch - 1 + (number + 1) / steps, f"epoch {epoch}/{self._epochs}", rate)

    def epoch(self, meter: Meter, epoch: int, rate: float) -> None:
        """Report at the end of an epoch."""
        self._say(meter, epoch, f"epoch {epoch}/{self._epochs}", rate)

    def _say(self, meter: Meter, done: float, where: str, rate: float) -> None:
        parts = [f"{self._names[self._number]}, {where}" if len(self._names) > 1 else where, meter.note()]
        parts.append(f"lr {rate:.2g}")
        if self._clock is not None:
            self._told = self._clock()
            parts.append(f"{meter.samples / max(self._told - self._epoch_began, 1e-9):.1f} images/s")
            left = (self._told - self._began) / (done - self._first) * (self._epochs - done)
            parts.append(f"{spoken(left)} left")
        self._tell((self._number + done / self._epochs) / len(self._names), ", ".join(parts))


def spoken(seconds: float) -> str:
    """Return a duration as people write it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
