"""Batches of samples as tensors: padding, flips, and the place of a sample's window in its image."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessera.models.mobilenetv2 import backbone_input
from tessera.training.ahead import Ahead, Batch
from tessera.training.augment import MEAN_COLOUR, Augmentation
from tessera.training.checks import IGNORE

if TYPE_CHECKING:
    from tessera.training.samples import Picture, Sample

UNIT = 16  # pixels; a multiple of every stride in use
LOW = 4  # stride of the low map


class Place(NamedTuple):
    """Part of the maps of one input: first row and column, height and width; low in 4 pixels, high in units of 16."""

    low: tuple[int, int, int, int]
    high: tuple[int, int, int, int]


class ImageSet:
    """Images of one common size: smaller ones are padded with the mean colour below and to the right."""

    def __init__(
        self, pictures: Sequence[NDArray[np.uint8] | Picture], device: torch.device, dtype: torch.dtype
    ) -> None:
        self._images = pictures
        self.size = (max(one.shape[0] for one in pictures), max(one.shape[1] for one in pictures))
        self.device = device
        self.dtype = dtype
        self._ahead = Ahead()
        self._last: tuple[NDArray[np.int64], NDArray[np.bool_], object, Tensor] | None = None

    def begin(self, batch: Batch) -> None:
        """Begin to make the images of a batch, for which `rgb` is then asked with the same arrays."""
        self._ahead.begin(batch, lambda: self._made(*batch))

    def close(self) -> None:
        """End what `begin` began."""
        self._ahead.close()
        self._last = None

    @property
    def context(self) -> tuple[int, int]:
        """Height and width, in pixels, of the area that the deepest map of a sample covers."""
        return self.size

    def offsets(self, index: NDArray[np.int64], flip: NDArray[np.bool_]) -> list[tuple[int, int]] | None:
        """Return where each low map begins on the stride-4 grid of its high map; None where both begin together."""
        return None

    def __len__(self) -> int:
        return len(self._images)

    def shown(self, index: NDArray[np.int64], changes: Sequence[Augmentation] | None = None) -> Tensor:
        """Return which pixels belong to the images, bool (N, H, W); padding is below and right, also when mirrored."""
        shapes = [shape[:2] for shape in self.shapes(index)]
        if changes is not None:
            planes = [one.labels(np.zeros(shape, np.uint8), IGNORE) for shape, one in zip(shapes, changes, strict=True)]
            return torch.from_numpy(np.stack(planes) != IGNORE).to(self.device)
        out = np.zeros((len(index), *self.size), bool)
        for row, (height, width) in enumerate(shapes):
            out[row, :height, :width] = True
        return torch.from_numpy(out).to(self.device)

    def source(self, sample: int) -> Hashable:
        """Return the key of a sample's input: samples with one key have maps that are cut out of one input."""
        return sample

    def whole(self, sample: int, flip: bool) -> Tensor:
        """Return the input of a sample's maps, uint8 (1, H, W, 3), mirrored where ``flip``."""
        return self.rgb(np.array([sample]), np.array([flip]))

    def place(self, sample: int, flip: bool) -> Place | None:
        """Return where a sample's maps lie in those of ``whole``; None: they are the same."""
        return None

    def shapes(self, index: NDArray[np.int64]) -> list[tuple[int, ...]]:
        """Return (H, W, 3) of each image of a batch, without decoding it."""
        return [tuple(self._images[sample].shape) for sample in index]

    def rgb(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: Sequence[Augmentation] | None = None
    ) -> Tensor:
        """Return images uint8 (N, H, W, 3), mirrored where ``flip``, or with ``changes``, which include mirroring.

        Asked twice with the same arrays, it returns the same images, which are not to be written to.
        """
        last = self._last
        if last is not None and last[0] is index and last[1] is flip and last[2] is changes:
            return last[3]
        made = self._ahead.take(index, flip, changes)
        made = self._made(index, flip, changes) if made is None else made
        made = made.to(self.device, non_blocking=True)  # from pinned memory
        self._last = (index, flip, changes, made)
        return made

    def _made(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: Sequence[Augmentation] | None
    ) -> Tensor:
        """Return the images of `rgb` in memory of the host, pinned where they go on to a CUDA device."""
        made = torch.from_numpy(self._pixels(index, flip, changes))
        return made.pin_memory() if self.device.type == "cuda" else made

    def _pixels(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: Sequence[Augmentation] | None
    ) -> NDArray[np.uint8]:
        if changes is not None:
            return np.stack(
                [one.image(np.asarray(self._images[sample])) for sample, one in zip(index, changes, strict=True)]
            )
        out = np.empty((len(index), *self.size, 3), dtype=np.uint8)
        out[...] = MEAN_COLOUR
        for row, (sample, mirrored) in enumerate(zip(index, flip, strict=True)):
            image = np.asarray(self._images[sample])
            out[row, : image.shape[0], : image.shape[1]] = image[:, ::-1] if mirrored else image
        return out

    def inputs(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: Sequence[Augmentation] | None = None
    ) -> Tensor:
        """Return normalised images (N, 3, H, W), channels-last."""
        return backbone_input(self.rgb(index, flip, changes), self.dtype)


class SampleSet(ImageSet):
    """Labelled samples of one common size; padding is ignored."""

    def __init__(self, samples: Sequence[Sample], device: torch.device, dtype: torch.dtype) -> None:
        super().__init__([sample.image for sample in samples], device, dtype)
        self._samples = samples

    def target(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: Sequence[Augmentation] | None = None
    ) -> Tensor:
        """Return targets uint8 (N, H, W), 255 ignored, mirrored or changed like the images."""
        if changes is not None:
            made = [
                one.labels(self._samples[sample].target, IGNORE) for sample, one in zip(index, changes, strict=True)
            ]
            return torch.from_numpy(np.stack(made)).to(self.device)
        out = np.full((len(index), *self.size), IGNORE, dtype=np.uint8)
        for row, (sample, mirrored) in enumerate(zip(index, flip, strict=True)):
            target = self._samples[sample].target
            out[row, : target.shape[0], : target.shape[1]] = target[:, ::-1] if mirrored else target
        return torch.from_numpy(out).to(self.device)


class WindowSet(SampleSet):
    """Samples with a box: windows of one size, 255 outside the box.

    A low map is cut around the box on the grid of 4 pixels; a high map around the low one on the grid of 16.
    """

    def __init__(self, samples: Sequence[Sample], device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(samples, device, dtype)
        boxes = [_mirrored(sample, flip) for sample in samples for flip in (False, True)]
        self._low = (
            max(-(-box[2] // LOW) - box[0] // LOW for box in boxes),
            max(-(-box[3] // LOW) - box[1] // LOW for box in boxes),
        )
        # Three low cells more, because a low window may begin anywhere within a unit.
        rows, columns = (-(-(cells + UNIT // LOW - 1) * LOW // UNIT) for cells in self._low)
        self._units = (rows, columns)
        self.size = (self._low[0] * LOW, self._low[1] * LOW)

    @property
    def context(self) -> tuple[int, int]:
        """Return height and width, in pixels, of the high window."""
        return self._units[0] * UNIT, self._units[1] * UNIT

    def low_start(self, sample: int, flip: bool) -> tuple[int, int]:
        """Return the first row and column of the low window, in cells of 4 pixels."""
        box, (height, width) = _mirrored(self._samples[sample], flip), self._padded(sample)
        return min(box[0] // LOW, height // LOW - self._low[0]), min(box[1] // LOW, width // LOW - self._low[1])

    def start(self, sample: int, flip: bool) -> tuple[int, int]:
        """Return the first row and column of the high window, in units of 16 pixels."""
        low, (height, width) = self.low_start(sample, flip), self._padded(sample)
        rows, columns = (part * LOW // UNIT for part in low)
        return min(rows, height // UNIT - self._units[0]), min(columns, width // UNIT - self._units[1])

    def offsets(self, index: NDArray[np.int64], flip: NDArray[np.bool_]) -> list[tuple[int, int]] | None:
        """Return where each low window begins on the stride-4 grid of its high window."""
        found = []
        for sample, mirrored in zip(index, flip, strict=True):
            low, high = self.low_start(sample, mirrored), self.start(sample, mirrored)
            found.append((low[0] - high[0] * UNIT // LOW, low[1] - high[1] * UNIT // LOW))
        return found

    def _padded(self, sample: int) -> tuple[int, int]:
        """Return height and width of the image, rounded up to units and at least as large as a high window."""
        height, width = self._samples[sample].image.shape[:2]
        return max(-(-height // UNIT) * UNIT, self.context[0]), max(-(-width // UNIT) * UNIT, self.context[1])

    def source(self, sample: int) -> Hashable:
        """Return the image: many windows may lie in one."""
        return id(self._samples[sample].image)

    def whole(self, sample: int, flip: bool) -> Tensor:
        """Return the whole image, uint8 (1, H, W, 3), padded to hold every window and to multiples of 16."""
        image = np.asarray(self._samples[sample].image)
        out = np.empty((1, *self._padded(sample), 3), dtype=np.uint8)
        out[...] = MEAN_COLOUR
        out[0, : image.shape[0], : image.shape[1]] = image[:, ::-1] if flip else image
        return torch.from_numpy(out)

    def place(self, sample: int, flip: bool) -> Place:
        """Return the low and the high window."""
        return Place((*self.low_start(sample, flip), *self._low), (*self.start(sample, flip), *self._units))

    def target(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: Sequence[Augmentation] | None = None
    ) -> Tensor:
        """Return targets uint8 (N, H, W) of the windows, 255 outside the box, mirrored where ``flip``; no
        ``changes``."""
        out = np.full((len(index), *self.size), IGNORE, dtype=np.uint8)
        for row, (sample, mirrored) in enumerate(zip(index, flip, strict=True)):
            y0, x0, y1, x1 = _mirrored(self._samples[sample], mirrored)
            top, left = (LOW * part for part in self.low_start(sample, mirrored))
            target = self._samples[sample].target
            out[row, y0 - top : y1 - top, x0 - left : x1 - left] = target[:, ::-1] if mirrored else target
        return torch.from_numpy(out).to(self.device)


def _mirrored(sample: Sample, flip: bool) -> tuple[int, int, int, int]:
    assert sample.box is not None  # noqa: S101 - window sets are made of samples with boxes
    y0, x0, y1, x1 = sample.box
    width = sample.image.shape[1]
    return (y0, width - x1, y1, width - x0) if flip else sample.box
