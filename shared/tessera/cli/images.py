"""``tessera data import images`` and runs on data sets that are in the store: images by reference, in versions."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.cli.output import note
from tessera.cli.processes import write_atomically
from tessera.cli.progress import ProgressBar
from tessera.errors import BadInput
from tessera.runtime.redaction import one_line

if TYPE_CHECKING:
    from tessera.datasets.samples import Classes
    from tessera.formats.versions import DatasetVersion
    from tessera.runtime.examining import LeftOut
    from tessera.runtime.referencing import Found
    from tessera.runtime.settings import Settings

LAYOUT = "images"
"""Stands in the place of a layout: images without labels, which stay where they are."""
_SHOWN = 50


@dataclass(frozen=True)
class Wanted:
    """The options of ``tessera data import images`` and ``tessera data append``."""

    source: str
    store: str | None = None
    classes: Path | None = None
    name: str | None = None
    names: str | None = None
    times: Path | None = None
    report: Path | None = None
    labels: str | None = None


def store_url(given: str | None) -> str:
    """Return the address of the store: as given, that of the environment, or the default folder."""
    from tessera.runtime.settings import load

    return given or os.environ.get("TESSERA_STORE") or load().store


def import_images(wanted: Wanted) -> str:
    """Import the images of a folder or ``s3://bucket/prefix`` by reference; return what is there now, in words."""
    from tessera.datasets.samples import read_classes
    from tessera.runtime.settings import load

    if wanted.classes is None:
        raise BadInput(
            "data import images: needs --classes FILE, the classes that people are to tell apart: classes.json, or a "
            "text with one name a line"
        )
    classes = read_classes(wanted.classes)
    url = store_url(wanted.store)
    made, found = asyncio.run(_import(wanted, classes, url, load(store=url)))
    return said(made, found, wanted, url)


async def _import(wanted: Wanted, classes: Classes, url: str, settings: Settings) -> tuple[DatasetVersion, Found]:
    from tessera.runtime import referencing
    from tessera.runtime.examining import Journal
    from tessera.runtime.objects import open_store
    from tessera.runtime.sources import open_source

    _more_threads()
    source = open_source(wanted.source, url, settings)
    labels = open_source(wanted.labels, url, settings) if wanted.labels else None
    name = wanted.name or classes.name or default_name(wanted.source)
    naming = referencing.Naming(wanted.names, wanted.times)
    with ProgressBar(f"importing {source.where}") as bar, Journal(settings.cache_dir / "imports", source.where) as kept:
        return await referencing.import_images(
            open_store(url, settings), source, classes, name, naming, kept, labels,
            lambda done, total, what: bar.update(done, total, what),
        )  # fmt: skip


def _more_threads() -> None:
    """Give every read that may be under way a thread: most of the time they wait for the server."""
    from tessera.runtime.importing import AT_ONCE

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(AT_ONCE + 2, "import"))


def append_images(wanted: Wanted) -> str:
    """Add the images of a folder or prefix to a data set, as its next version; return what is there now, in words."""
    from tessera.runtime.settings import load

    url = store_url(wanted.store)
    made, found = asyncio.run(_append(wanted, url, load(store=url)))
    return said(made, found, wanted, url)


async def _append(wanted: Wanted, url: str, settings: Settings) -> tuple[DatasetVersion, Found]:
    from tessera.runtime import referencing
    from tessera.runtime.examining import Journal
    from tessera.runtime.objects import open_store
    from tessera.runtime.sources import open_source

    _more_threads()
    source = open_source(wanted.source, url, settings)
    labels = open_source(wanted.labels, url, settings) if wanted.labels else None
    naming = referencing.Naming(wanted.names, wanted.times)
    with ProgressBar(f"reading {source.where}") as bar, Journal(settings.cache_dir / "imports", source.where) as kept:
        return await referencing.append_images(
            open_store(url, settings), source, str(wanted.name), naming, kept, labels,
            lambda done, total, what: bar.update(done, total, what),
        )  # fmt: skip


def default_name(source: str) -> str:
    """Return a name for a data set from the last part of its address."""
    last = source.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:40].rstrip("-") or "images"


def said(made: DatasetVersion, found: Found, wanted: Wanted, url: str) -> str:
    """Report what was left out, on the error output; return what the data set is now."""
    _report(found.left_out, wanted.report)
    if found.stills and (wanted.names or wanted.times):
        note(f"{found.stills} images have no sequence: nothing says where they are in time; they count as stills")
    total = sum(made.split_sizes.values())
    left = f", {len(found.left_out)} left out" if found.left_out else ""
    if wanted.classes is None:
        left = f", {len(found.items)} of them new{left}"
    manifest = made.dataset.manifest
    return "\n".join(
        [
            f"{made.name}, version {made.number}: {total} images by reference, {len(made.class_names)} classes{left}",
            f"run it with: --data dataset:{made.name}",
            json.dumps({"store": url, "manifest": manifest.key, "sha256": manifest.sha256}),
        ]
    )


def _report(left_out: Sequence[LeftOut], path: Path | None) -> None:
    from tessera.runtime.referencing import lines

    reasons = lines(left_out)
    if path is not None:
        write_atomically(path, "".join(f"{line}\n" for line in reasons).encode())
    for line in reasons[:_SHOWN]:
        note(f"left out: {one_line(line)}")
    if len(reasons) > _SHOWN:
        where = f"in {path}" if path is not None else "with --report FILE"
        note(f"left out: {len(reasons) - _SHOWN} more; all of them are named {where}")
