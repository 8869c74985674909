"""Random streams of a training phase: one generator per purpose, each derived from the seed and its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.training.phase import Feed, Iteration, Phase

if TYPE_CHECKING:
    from tessera.training.distributed import Processes


def batches(count: int, size: int, rng: np.random.Generator, least: int = 2) -> list[NDArray[np.int64]]:
    """Split a random order of ``count`` samples into batches of ``size``; every sample once.

    Batch norm needs two values per channel, and the image-pool branch has one per sample. A single sample left over
    therefore joins the batch before it, and a data set of one sample has that sample twice. With several processes
    ``least`` is their number, since each needs a sample: fewer than ``least`` left over join the batch before.
    """
    order = rng.permutation(count) if count > 1 else np.zeros(2, dtype=np.int64)
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] < least:
        starts.pop()
    return [np.asarray(part, dtype=np.int64) for part in np.split(order, starts[1:])]


class Shuffled:
    """Endless rows: every row once in random order, then all again, as a shuffled loader would."""

    def __init__(self, rows: NDArray[np.int64], rng: np.random.Generator) -> None:
        self._rows, self._rng = rows, rng
        self._queue = np.empty(0, np.int64)

    def take(self, count: int) -> NDArray[np.int64]:
        """Return the next ``count`` rows; rows repeat when there are fewer."""
        while len(self._queue) < count:
            self._queue = np.concatenate([self._queue, self._rng.permutation(self._rows)])
        head, self._queue = self._queue[:count], self._queue[count:]
        return head

    def state_dict(self) -> dict[str, Any]:
        """Return the rows that are left of the current order."""
        return {"queue": self._queue.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self._queue = np.asarray(state["queue"], np.int64).copy()


class Streams:
    """Generators and shuffled feeds of one phase.

    Every method draws the first phase's samples from the seed itself: trainings with one seed and equally many samples
    see them in the same order, so that their curves are paired.
    """

    def __init__(self, seed: int, phase: str | None, group: Processes | None = None) -> None:
        self._seed, self._phase = seed, phase
        self._group = group
        self._generators: dict[str, np.random.Generator] = {}
        self._feeds: dict[str, Shuffled] = {}

    @property
    def torch_seed(self) -> int:
        """Return the seed of torch's random state while the phase is made and run; ``phase`` None is the first."""
        return self._seed if self._phase is None else self._derived("torch")

    def draws(self, purpose: str) -> np.random.Generator:
        """Return the generator of ``purpose``, which goes on where its last draw ended."""
        if purpose not in self._generators:
            paired = self._phase is None and purpose == "samples"
            self._generators[purpose] = np.random.default_rng(self._seed if paired else self._derived(purpose))
        return self._generators[purpose]

    def epoch(self, phase: Phase, epoch: int) -> Iterator[Iteration]:
        """Yield the steps of ``epoch`` (from 1)."""
        rng = self.draws("samples")
        processes = self._group.size if self._group else 1
        if phase.steps is None:
            parts: Iterator[NDArray[np.int64]] = iter(
                made := batches(phase.samples, phase.batch, rng, max(2, processes))
            )
            steps = len(made)
        else:
            endless = self._feed("samples", Feed(phase.samples, phase.batch))
            steps = phase.steps
            parts = (endless.take(phase.batch) for _ in range(steps))
        for number, whole in enumerate(parts):
            part = self._group.part(len(whole)) if self._group else slice(len(whole))
            if part.start == part.stop:
                raise BadInput(
                    f"training: {len(whole)} samples for {processes} processes; set TESSERA_TRAINING_PROCESSES to "
                    f"{len(whole)} at most"
                )
            feeds = {name: self._feed(name, feed).take(feed.batch) for name, feed in phase.feeds.items()}
            yield Iteration(epoch, number, steps, whole[part], feeds, rng, self.draws, whole, part)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every generator and feed."""
        return {
            "generators": {name: made.bit_generator.state for name, made in self._generators.items()},
            "feeds": {name: made.state_dict() for name, made in self._feeds.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], phase: Phase) -> None:
        """Go on from what ``state_dict`` returned."""
        for name, one in state["generators"].items():
            self.draws(name).bit_generator.state = one
        specs = {"samples": Feed(phase.samples, phase.batch), **phase.feeds}
        for name, one in state["feeds"].items():
            self._feed(name, specs[name]).load_state_dict(one)

    def _feed(self, name: str, feed: Feed) -> Shuffled:
        if name not in self._feeds:
            rng = self.draws(name if name == "samples" else f"feed {name}")
            self._feeds[name] = Shuffled(np.arange(feed.count), rng)
        return self._feeds[name]

    def _derived(self, purpose: str) -> int:
        text = f"{self._seed}/{self._phase or ''}/{purpose}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
