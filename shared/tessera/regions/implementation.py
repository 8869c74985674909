"""The code that cuts regions: a partition made by a library depends on the library's version.

Two OpenCVs may cut one image differently, and everything that follows (scores, questions, answers) is keyed by region
id. So the version is a parameter: filled in where the recipe is read, part of the canonical recipe and of the job key,
and checked where the regions are cut.
"""

from __future__ import annotations

import functools
import importlib.metadata

from tessera.errors import BadInput


@functools.cache
def installed(*distributions: str) -> str | None:
    """Return major.minor.patch of the first of these distributions that is installed; nothing is imported."""
    for distribution in distributions:
        try:
            return release(importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def release(version: str) -> str:
    """Return the first three parts: opencv-python's fourth counts builds, and cv2 itself reports three."""
    return ".".join(version.split(".")[:3])


def check(method: str, wanted: str, here: str) -> None:
    """Refuse to cut with another implementation than the recipe names: BadInput with both and the remedy."""
    if wanted != here:
        raise BadInput(
            f"partition.{method}: the recipe names regions cut by {wanted!r}, and here they would be cut by {here!r}; "
            f"install that version on every partitioner, or set partition.implementation to {here!r} "
            "(a partition of its own: other region ids, other results)"
        )
