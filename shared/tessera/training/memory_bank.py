"""A memory bank of pixel vectors, one queue per class: the hardest pixels that the model predicts correctly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tessera.models.upsample import upsampled
from tessera.registry import Params
from tessera.training.checks import IGNORE

if TYPE_CHECKING:
    from tessera.models.predictor import Predictor
    from tessera.training.samples import Sample

Float32 = NDArray[np.float32]


class MemoryBankParams(Params):
    """Parameters of a memory bank; defaults of the superpixel-contrastive paper (§4.2: P_i = 10, P_t = 100 · P_i)."""

    tap: Literal["projection", "decoder", "aspp", "backbone"] = "projection"
    """The map of the network whose cells count as pixels."""
    per_image: int = Field(default=10, ge=1, le=10_000)
    """P_i: most pixels that one image adds to the queue of a class."""
    images: int = Field(default=100, ge=1, le=10_000)
    """A queue holds ``images`` · ``per_image`` vectors; the oldest make room for newer ones."""


class MemoryBank:
    """One first-in-first-out queue of vectors (D,) float32 per class, class 0 included."""

    def __init__(self, classes: int, capacity: int, dimension: int) -> None:
        self._vectors = np.zeros((classes, capacity, dimension), np.float32)
        # Per class: where the next vector goes, and how many there are.
        self._next = np.zeros(classes, np.int64)
        self.counts = np.zeros(classes, np.int64)

    def push(self, label: int, vectors: Float32) -> None:
        """Append vectors (k, D) to the queue of class ``label``, first row first; the oldest make room."""
        capacity = self._vectors.shape[1]
        place = self._next[label] + np.arange(len(vectors))
        kept = slice(max(0, len(vectors) - capacity), None)
        self._vectors[label, place[kept] % capacity] = vectors[kept]
        self._next[label] = (self._next[label] + len(vectors)) % capacity
        self.counts[label] = min(capacity, self.counts[label] + len(vectors))

    def push_image(self, vectors: Float32, logits: Float32, truth: NDArray[np.integer[Any]], per_image: int) -> None:
        """Append what `hardest_correct` finds in one image: vectors (D, h, w), logits (C, h, w), truth (h, w)."""
        for label, found in hardest_vectors(vectors, logits, truth, per_image):
            self.push(label, found)

    def queue(self, label: int) -> Float32:
        """Return the vectors (n, D) of one class, oldest first."""
        capacity, count = self._vectors.shape[1], self.counts[label]
        rows: Float32 = self._vectors[label, (self._next[label] - count + np.arange(count)) % capacity]
        return rows

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return every queue, with the place of its next vector."""
        return {"vectors": self._vectors.copy(), "next": self._next.copy(), "counts": self.counts.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self._vectors[...] = state["vectors"]
        self._next[...] = state["next"]
        self.counts[...] = state["counts"]

    def contents(self) -> dict[str, NDArray[Any]]:
        """Return ``vectors`` (n, D) float32 and ``classes`` (n,) int32: class by class, oldest first."""
        labels = np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)
        return {"vectors": np.concatenate([self.queue(label) for label in range(len(self.counts))]), "classes": labels}


def hardest_correct(logits: Float32, truth: NDArray[np.integer[Any]], k: int) -> dict[int, NDArray[np.intp]]:
    """Return per class the ``k`` cells of highest entropy among those whose largest logit is their ``truth``.

    Logits (C, h, w), truth (h, w) with 255 where unknown. A cell is its index row by row; hardest first, ties by index.
    A class without such a cell is left out. Superpixel-contrastive paper, §3.2 and eq. 4.
    """
    z = logits.reshape(len(logits), -1).astype(np.float64)
    z -= z.max(axis=0)
    p = np.exp(z)
    total = p.sum(axis=0)
    entropy = np.log(total) - (p * z).sum(axis=0) / total
    labels = truth.reshape(-1).astype(np.int64)
    right = (z.argmax(axis=0) == labels) & (labels != IGNORE)
    found = {}
    for label in np.unique(labels[right]).tolist():
        cells = np.flatnonzero(right & (labels == label))
        found[label] = cells[np.argsort(-entropy[cells], kind="stable")[:k]]
    return found


def hardest_vectors(
    vectors: Float32, logits: Float32, truth: NDArray[np.integer[Any]], per_image: int
) -> Iterator[tuple[int, Float32]]:
    """Yield each class with the vectors (k, D) at the cells that `hardest_correct` finds for it."""
    flat = vectors.reshape(len(vectors), -1)
    for label, cells in hardest_correct(logits, truth, per_image).items():
        yield label, flat[:, cells].T


def collect(
    predictor: Predictor,
    samples: Sequence[Sample],
    params: MemoryBankParams,
    classes: int,
    progress: Callable[[float, str], None],
) -> MemoryBank:
    """Run ``predictor`` over whole labelled images, in order, and remember their hardest correct pixels.

    A pixel is a cell of the map ``params.tap``: neighbouring pixels of the image have nearly the same vector. Its truth
    is that of the image's pixel at its centre, its logits are interpolated there. A function of the arguments alone.
    """
    bank: MemoryBank | None = None
    for done, sample in enumerate(samples):
        taps = predictor.taps(np.asarray(sample.image), (params.tap, "logits"))
        vectors = taps[params.tap]
        size = (vectors.shape[1], vectors.shape[2])
        if bank is None:
            bank = MemoryBank(classes, params.images * params.per_image, len(vectors))
        logits = upsampled(taps["logits"], size)
        bank.push_image(vectors, logits, at_centres(sample.target, size), params.per_image)
        progress((done + 1) / len(samples), f"memory bank: image {done + 1}/{len(samples)}")
    assert bank is not None  # noqa: S101 - training refuses to begin without samples
    return bank


def at_centres(target: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the target's (H, W) values at the centres of a grid of ``size`` cells."""
    rows, columns = (
        ((2 * np.arange(cells) + 1) * full // (2 * cells)) for cells, full in zip(size, target.shape, strict=True)
    )
    return np.asarray(target[rows[:, None], columns], np.uint8)
