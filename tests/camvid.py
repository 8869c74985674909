"""The development copy of CamVid (TESSERA_CAMVID), and data of all its train images for several tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tessera.datasets.reader import read_dataset
from tessera.datasets.samples import LabelledImage
from tessera.formats import images
from tessera.regions import partition

_MISSING = pytest.mark.skipif(
    "TESSERA_CAMVID" not in os.environ, reason="TESSERA_CAMVID is not set: the CamVid copy is not here"
)


def needs_camvid(test):
    """Mark a test that reads CamVid; skipped, with the reason, where it is not."""
    return pytest.mark.camvid(_MISSING(test))


def samples(split: str) -> tuple[LabelledImage, ...]:
    """The images of one split, in the order of the data set."""
    return read_dataset(Path(os.environ["TESSERA_CAMVID"])).splits[split]


def rgb(sample: LabelledImage) -> NDArray[np.uint8]:
    """One image, decoded as services decode it."""
    return images.decode_rgb(sample.image_path.read_bytes(), sample.image_id)


def labels(sample: LabelledImage) -> NDArray[np.uint8]:
    """One label map; 255 where undefined."""
    return images.decode_labels(sample.label_path.read_bytes(), sample.image_id)


@functools.cache
def seeds_maps() -> Mapping[str, NDArray[np.uint8]]:
    """SEEDS 192/5 of every train image by image id, made once per test session (35 s on one core, half of it on two).

    uint8 to keep 367 maps small: widen to int32 before use.
    """

    def cut(sample: LabelledImage) -> NDArray[np.uint8]:
        regions = partition("seeds", {"count": 192, "levels": 5}, rgb(sample))
        assert regions.max() < 256
        return regions.astype(np.uint8)

    train = samples("train")
    # Most of the time is OpenCV's, outside the interpreter lock.
    with ThreadPoolExecutor(2) as pool:
        return dict(zip([sample.image_id for sample in train], pool.map(cut, train), strict=True))
