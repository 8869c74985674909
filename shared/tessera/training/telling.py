"""Progress messages of a training: epoch, losses, learning rate, speed and the time that is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tessera.training.history import Meter

_SECONDS = 1.0


class Teller:
    """Reports the phases ``names``, at the end of every epoch, and, given a ``clock`` (seconds), once per second.

    Speeds count the steps alone, without validation and checkpoints.
    """

    def __init__(
        self, tell: Callable[[float, str], None], clock: Callable[[], float] | None, names: tuple[str, ...]
    ) -> None:
        self._tell, self._clock, self._names = tell, clock, names
        self._number = self._epochs = self._first = 0
        self._began = self._epoch_began = self._told = self._stepped = 0.0
        self._images, self._seconds = 0, 0.0

    def begin_phase(self, number: int, epochs: int, done: int) -> None:
        """Phase ``number`` (from 0) begins; it has ``epochs`` epochs, of which ``done`` had ended before."""
        self._number, self._epochs, self._first = number, epochs, done
        self._began = self._told = self._clock() if self._clock else 0.0

    def begin_epoch(self) -> None:
        """Start measuring the speed."""
        self._epoch_began = self._stepped = self._clock() if self._clock else 0.0

    def step(self, meter: Meter, epoch: int, number: int, steps: int, rate: float) -> None:
        """Report after step ``number`` (from 0) of ``steps`` in ``epoch``."""
        if self._clock is None:
            return
        self._stepped = self._clock()
        if self._stepped - self._told >= _SECONDS:
            self._say(meter, epoch - 1 + (number + 1) / steps, f"epoch {epoch}/{self._epochs}", rate)

    def epoch(self, meter: Meter, epoch: int, rate: float) -> None:
        """Report at the end of an epoch."""
        self._images += meter.samples
        self._seconds += self._stepped - self._epoch_began
        self._say(meter, epoch, f"epoch {epoch}/{self._epochs}", rate)

    @property
    def images_per_second(self) -> float:
        """Images of all epochs so far by the seconds of their steps; 0 without a clock."""
        return self._images / self._seconds if self._seconds > 0 else 0.0

    def _say(self, meter: Meter, done: float, where: str, rate: float) -> None:
        name = self._names[self._number]
        parts = [f"{name}, {where}" if len(self._names) > 1 else where, f"loss {meter.loss():.3f}", f"lr {rate:.2g}"]
        if self._clock is not None:
            self._told = self._clock()
            parts.append(f"{meter.samples / max(self._stepped - self._epoch_began, 1e-9):.1f} images/s")
            left = (self._told - self._began) / (done - self._first) * (self._epochs - done)
            last = self._number == len(self._names) - 1
            # A later phase is made when this one has ended: how long it is, nobody knows yet.
            parts.append(f"{spoken(left)} left" if last else f"{spoken(left)} left of {name}")
        # At the end, because whoever shows a note cuts a long one.
        parts += [f"{key} {value:.3g}" for key, value in values.items()] if len(values := meter.means()) > 1 else []
        self._tell((self._number + done / self._epochs) / len(self._names), ", ".join(parts))


def spoken(seconds: float) -> str:
    """Return a duration as people write it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
