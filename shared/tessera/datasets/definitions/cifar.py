"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009): files, and the layout of a record.

A record is one label byte (CIFAR-10), or the coarse and the fine one (CIFAR-100), and 3,072 bytes: red, green and blue
plane of 32 × 32 pixels, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Version:
    """Files of one of the two data sets; ``names``: kind of label → its byte in a record and the file of its names."""

    name: str
    folder: str
    """Folder that the archive unpacks."""
    train: tuple[str, ...]
    test: str
    names: dict[str, tuple[int, str]]

    @property
    def record(self) -> int:
        """Return the number of bytes per record."""
        return len(self.names) + PIXELS


CIFAR10 = Version(
    "cifar10",
    "cifar-10-batches-bin",
    tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test_batch.bin",
    {"fine": (0, "batches.meta.txt")},
)
CIFAR100 = Version(
    "cifar100",
    "cifar-100-binary",
    ("train.bin",),
    "test.bin",
    {"coarse": (0, "coarse_label_names.txt"), "fine": (1, "fine_label_names.txt")},
)
PICKLES = {"cifar-10-batches-py": "data_batch_1", "cifar-100-python": "train"}
"""Folder of the Python version → a file in it. Pickles run code when they are read, so they never are."""
