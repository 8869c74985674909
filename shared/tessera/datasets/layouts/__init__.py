"""Folder layouts: one module each, registered by name.

A layout is a function ``(folder, params, problems) -> Source`` with the traits ``detect(folder) -> bool``,
``looks_for``, the sentence shown when no layout matches, and, where it is not the video or the single image,
``group(sample) -> str``: what stays together when a test split is cut from val.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tessera.datasets.samples import Problems, Source
from tessera.registry import Params, Registry

ReadLayout = Callable[[Path, Any, Problems], Source]

LAYOUTS: Registry[ReadLayout] = Registry("layout", "tessera.datasets.layouts")


class LayoutParams(Params):
    """``classes``: a file with the classes, for folders that do not bring their own.

    ``test``: ``half`` moves about half of val to a new split test, for data sets whose test labels are not public.
    """

    classes: Path | None = None
    test: Literal["none", "half"] = "none"
