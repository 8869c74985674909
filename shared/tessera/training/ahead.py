"""Images of the next step, decoded and changed in a thread while the step before it computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tessera.training.augment import Augmentation


class Batch(NamedTuple):
    """Draws of one stream for one step: which images, which of them mirrored, and their other changes."""

    rows: NDArray[np.int64]
    flip: NDArray[np.bool_]
    changes: list[Augmentation] | None = None


class Ahead:
    """Makes the images of batches one after the other in one thread, and keeps them until they are taken.

    A batch is known by its array ``rows`` itself: whoever takes it has the very object that was begun. The phase draws
    before it begins a batch, so that the thread changes when an image is made and never what it is.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._made: dict[int, tuple[Batch, Future[Tensor]]] = {}

    def begin(self, batch: Batch, make: Callable[[], Tensor]) -> None:
        """Begin to make the images of ``batch``."""
        self._thread = self._thread or ThreadPoolExecutor(1, "tessera-images")
        self._made[id(batch.rows)] = (batch, self._thread.submit(make))

    def take(self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: object) -> Tensor | None:
        """Return the images of a batch that was begun, or raise what making them raised; None for any other."""
        found = self._made.get(id(index))
        if found is None or found[0].rows is not index or found[0].flip is not flip or found[0].changes is not changes:
            return None
        del self._made[id(index)]
        return found[1].result()

    def close(self) -> None:
        """Forget what nobody took, and end the thread."""
        self._made.clear()
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._thread = None
