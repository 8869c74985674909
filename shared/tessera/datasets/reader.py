"""Read a data set folder of any known layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tessera.datasets.files import leading_out
from tessera.datasets.layouts import LAYOUTS, LayoutParams
from tessera.datasets.listing import hold_out
from tessera.datasets.samples import Problems, Source
from tessera.errors import BadInput


def detect_layout(folder: Path) -> str:
    """Return the name of a folder's layout; BadInput listing the known layouts when none matches."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; check the path")
    # The native layout has its own classes and times, so it comes first where several fit.
    names = sorted(LAYOUTS.names(), key=lambda name: (name != "native", name))
    for name in names:
        if LAYOUTS.entry(name).traits.detect(folder):
            return name
    looked = "; ".join(f"{name}: {LAYOUTS.entry(name).traits.looks_for}" for name in names)
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise BadInput(f"{folder}: no known layout. Looked for {looked}. Found {there}")


def read_dataset(
    folder: Path,
    layout: str | None = None,
    problems: Problems | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Source:
    """List the images and label maps of a folder, without decoding them.

    ``layout`` None detects it; ``settings`` are its parameters. With ``problems``, those of single files are added
    there; otherwise they are raised as one BadInput. A missing folder, an unknown layout, wrong settings and unreadable
    classes are always raised.
    """
    detected = layout or detect_layout(folder)
    entry = LAYOUTS.entry(detected)
    if not entry.traits.detect(folder):
        raise BadInput(f"{folder}: not of layout {detected}, which has {entry.traits.looks_for}; check the path")
    params = LAYOUTS.parameters(detected, dict(settings or {}))
    collected = problems if problems is not None else Problems(str(folder))
    source = entry.function(folder, params, collected)
    if isinstance(params, LayoutParams) and params.test == "half":
        source = replace(source, splits=hold_out(folder, source.splits, entry.traits.group))
    if problems is None:
        collected.check()
    samples = [one for of in source.splits.values() for one in of]
    paths = [one.image_path for one in samples] + [one.label_path for one in samples if not one.unlabelled]
    return replace(source, elsewhere=leading_out(folder, paths))


def links_out(source: Source) -> str:
    """Return a sentence naming the files of a data set outside its folder; "" when there are none."""
    if not source.elsewhere:
        return ""
    first = source.elsewhere[0]
    count = len(source.elsewhere)
    what = "1 file lies" if count == 1 else f"{count} files lie"
    return f"{what} outside the data set's folder, behind links: {first} → {first.resolve()}"
