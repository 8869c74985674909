"""CIFAR-10 and CIFAR-100, binary version: ``cifar-10-batches-bin/`` or ``cifar-100-binary/``, or the folder above it.

A data set of classification: every image has one class. Train and test are the published splits (50,000 and 10,000
images); there is no val, unless ``val=N`` takes the last N training images, whose order is random as published.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tessera.datasets.definitions.cifar import CIFAR10, CIFAR100, PICKLES, SIDE, Version
from tessera.datasets.files import read_file
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.samples import Classes, LabelledImage, Problems, Record, Source, check_splits, read_classes
from tessera.errors import BadInput


class CifarParams(LayoutParams):
    """``labels`` of CIFAR-100: its 100 classes or their 20 groups. ``val``: how many training images become val."""

    labels: Literal["fine", "coarse"] = "fine"
    val: int = Field(default=0, ge=0)


def detect(folder: Path) -> bool:
    """Return whether the folder has one of the binary versions, or a Python version, which `read` refuses by name."""
    return _found(folder) is not None or _pickled(folder) is not None


@LAYOUTS.register(
    "cifar",
    CifarParams,
    LayoutTraits(
        detect=detect,
        looks_for="data_batch_1.bin or train.bin, as in cifar-10-batches-bin/ and cifar-100-binary/",
    ),
)
def read(folder: Path, params: CifarParams, problems: Problems) -> Source:
    """Read the labels of all records."""
    found = _found(folder)
    if found is None:
        raise BadInput(
            f"{_pickled(folder)}: the Python version of CIFAR is pickles, which run code when they are read; download "
            "the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz) and unpack it"
        )
    version, at = found
    if params.labels not in version.names:
        raise BadInput(f"{at}: labels={params.labels}, but CIFAR-10 has one kind of label; leave labels out")
    column, names = version.names[params.labels]
    classes = read_classes(params.classes or at / names)
    train = [one for name in version.train for one in _records(at / name, "train", version, column, classes, problems)]
    splits = {
        "train": tuple(train),
        "test": tuple(_records(at / version.test, "test", version, column, classes, problems)),
    }
    if params.val:
        if params.val >= len(train):
            raise BadInput(f"{at}: val={params.val} leaves none of the {len(train)} training images; lower it")
        kept, held = train[: -params.val], train[-params.val :]
        splits |= {"train": tuple(kept), "val": tuple(replace(one, split="val") for one in held)}
    splits = {split: samples for split, samples in splits.items() if samples}
    check_splits(at, splits, problems)
    whole = Classes(classes.classes, classes.ignore_index, classes.frame_rate, version.name, "classification")
    return Source(version.name, "cifar", whole, splits)


def _found(folder: Path) -> tuple[Version, Path] | None:
    """Return the version and the folder with its files."""
    for version in (CIFAR10, CIFAR100):
        for at in (folder, folder / version.folder):
            if (at / version.train[0]).is_file():
                return version, at
    return None


def _pickled(folder: Path) -> Path | None:
    """Return a file of the Python version."""
    for name, file in PICKLES.items():
        for at in (folder, folder / name):
            # A file called train without ending, beside its meta: no other layout has one.
            if (at / file).is_file() and ((at / "meta").is_file() or (at / "batches.meta").is_file()):
                return at / file
    return None


def _records(
    path: Path, split: str, version: Version, column: int, classes: Classes, problems: Problems
) -> list[LabelledImage]:
    """Return the images of one file; its errors are problems."""
    if not path.is_file():
        if split == "train":
            problems.add(f"{path}: missing; unpack the archive of the data set again")
        return []
    data = np.frombuffer(read_file(path), np.uint8)
    if not data.size or data.size % version.record:
        problems.add(
            f"{path}: {data.size:,} bytes are no whole number of {version.name}'s records of {version.record:,} bytes; "
            "unpack the archive of the data set again"
        )
        return []
    labels = data.reshape(-1, version.record)[:, column]
    for row in np.flatnonzero(labels >= len(classes.classes))[:1].tolist():
        problems.add(
            f"{path}: record {row} has label {labels[row]}, but there are {len(classes.classes)} classes; give the "
            "names of this data set (classes=FILE) or unpack its archive again"
        )
        return []
    places = [Record(row * version.record + len(version.names), SIDE, SIDE) for row in range(len(labels))]
    return [
        LabelledImage(f"{path.stem}-{row:05d}", split, path, path, "", 0.0, label=label, record=place)
        for row, (label, place) in enumerate(zip(labels.tolist(), places, strict=True))
    ]
