"""Folder layouts: one module each, registered by name.

A layout is a function ``(folder, params, problems) -> Source``; `LayoutTraits` say how its folders are recognised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tessera.datasets.samples import LabelledImage, Problems, Source
from tessera.registry import Params, Registry

ReadLayout = Callable[[Path, Any, Problems], Source]


def _video_or_image(sample: LabelledImage) -> str:
    return sample.sequence or sample.image_id


@dataclass(frozen=True)
class LayoutTraits:
    """Traits of a layout: how its folders are recognised and divided."""

    detect: Callable[[Path], bool]
    """function(folder) → whether it has this layout."""
    looks_for: str
    """Description of the folders that ``detect`` accepts, shown when no layout matches."""
    group: Callable[[LabelledImage], str] = _video_or_image
    """Group that stays together when a test split is cut from val; default: the video, or the single image."""


LAYOUTS: Registry[ReadLayout, LayoutTraits] = Registry("layout", "tessera.datasets.layouts", LayoutTraits)


class LayoutParams(Params):
    """``classes``: a file with the classes, for folders that do not bring their own.

    ``test``: ``half`` moves about half of val to a new split test, for data sets whose test labels are not public.
    """

    classes: Path | None = None
    test: Literal["none", "half"] = "none"
