"""Folder layouts: one module each, registered by name.

A layout is a function ``(folder, params, problems) -> Source`` with two traits: ``detect(folder) -> bool`` and
``looks_for``, the sentence shown when no layout matches.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tessera.datasets.samples import Problems, Source
from tessera.registry import Params, Registry

ReadLayout = Callable[[Path, Any, Problems], Source]

LAYOUTS: Registry[ReadLayout] = Registry("layout", "tessera.datasets.layouts")


class LayoutParams(Params):
    """``classes``: a file with the classes, for folders that do not bring their own."""

    classes: Path | None = None
