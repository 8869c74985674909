"""Data sets for runs: a folder of the user, or the built-in street scenes, imported into the store."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.cli.progress import ProgressBar
from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.datasets.samples import Source
    from tessera.loop.recipe import Recipe
    from tessera.pb.common_pb2 import Dataset
    from tessera.runtime.objects import ObjectStore

BUILT_IN = ("street",)


@dataclass(frozen=True)
class Imported:
    """A data set in the store, with the facts that planning needs."""

    message: Dataset
    name: str
    split_sizes: dict[str, int]
    class_names: list[str]
    series: str = ""
    """The data set whose new versions the run takes up; empty: none."""
    version: int = 0


def choose(recipe: Recipe, folder: Path | None) -> str | None:
    """Return the data set folder after its layout was found, ``dataset:NAME`` as it is, or None for the recipe's
    built-in set."""
    if folder is not None:
        if in_store(str(folder)):
            return str(folder)
        if str(folder).startswith("s3:/"):
            bucket = f"s3://{str(folder)[4:].lstrip('/')}"
            raise BadInput(
                f"--data {bucket}: is a bucket; import it first: tessera data import images {bucket} --classes FILE "
                "--name NAME, then give --data dataset:NAME"
            )
        from tessera.datasets.reader import detect_layout

        detect_layout(folder)
        return str(folder.resolve())
    name = recipe.dataset.name
    if name not in BUILT_IN:
        raise BadInput(f"recipe {recipe.recipe} needs the data set {name}: give its folder with --data DIR")
    street_parameters(recipe.dataset.parameters)
    return None


def in_store(source: str | None) -> bool:
    """Return whether a data set is one that the store has."""
    return source is not None and source.startswith("dataset:")


async def into_store(store: ObjectStore, recipe: Recipe, source: str | None, scratch: Path) -> Imported:
    """Import the folder ``source``, or the recipe's built-in set (made in ``scratch`` unless it is there); find
    ``dataset:NAME`` there.

    Where people answer, the images of train need no label maps in the native layout.
    """
    from tessera.datasets.reader import detect_layout
    from tessera.loop import people
    from tessera.runtime import series

    if source is not None and in_store(source):
        found, fixed = await series.named(store, source)
        follows = {} if fixed else {"series": found.name}
        sizes, classes = dict(found.split_sizes), list(found.class_names)
        return Imported(found.dataset, found.name, sizes, classes, version=found.number, **follows)
    folder = Path(source) if source is not None else await asyncio.to_thread(built_in, recipe, scratch)
    asks = people.asked(recipe) and detect_layout(folder) == "native"
    return await _import(store, folder, "native" if asks else None, {"unlabelled": True} if asks else None)


async def _import(
    store: ObjectStore, folder: Path, layout: str | None, settings: Mapping[str, Any] | None = None
) -> Imported:
    from tessera.runtime.importing import import_dataset

    with ProgressBar(f"importing {folder.name}") as bar:
        message, manifest = await import_dataset(
            store, folder, layout, lambda done, total, what: bar.update(done, total, what), settings, bar.line
        )
    return Imported(
        message,
        manifest.name,
        manifest.sizes(),
        [info.name for info in manifest.classes],
    )


def built_in(recipe: Recipe, folder: Path) -> Path:
    """Make the recipe's street scenes in ``folder``, or return it when they were made there before."""
    from tessera.datasets.street.write import make_street

    parameters = street_parameters(recipe.dataset.parameters)
    if _made_with(folder) == parameters.model_dump(mode="json"):
        return folder
    if folder.is_dir():
        # Leftovers of an interrupted call, in the run's own folder.
        shutil.rmtree(folder)
    with ProgressBar("making street scenes") as bar:
        return make_street(folder, parameters, lambda done, total, _: bar.update(done, total, "images"))


def _made_with(folder: Path) -> Any:
    """Return the parameters of the street scenes in ``folder``; None when there are none, or not all of them."""
    try:
        # Written last, so where it exists the scenes are complete.
        return json.loads((folder / "classes.json").read_bytes()).get("street")
    except (OSError, ValueError, AttributeError):
        return None


def street_parameters(values: dict[str, Any]) -> Any:
    """Return the validated parameters of the street scenes; BadInput names the field."""
    from pydantic import ValidationError

    from tessera.datasets.street.params import StreetParams
    from tessera.registry import validation_message

    try:
        return StreetParams.model_validate(values)
    except ValidationError as error:
        raise BadInput(validation_message("dataset.parameters", error, StreetParams)) from None


def make(name: str, folder: Path, seed: int, settings: Iterable[str]) -> str:
    """Run ``tessera data make``; return a sentence on the new data set."""
    from tessera.cli.recipes import overrides
    from tessera.datasets.street.write import make_street

    if name not in BUILT_IN:
        raise BadInput(f"data make {name!r}: unknown; known: {', '.join(BUILT_IN)}")
    parameters = street_parameters({"seed": seed, **dict(overrides(settings))})
    with ProgressBar("making street scenes") as bar:
        make_street(folder, parameters, lambda done, total, _: bar.update(done, total, "images"))
    return describe(folder)


def import_folder(layout: str, folder: Path, store: str | None, settings: Iterable[str] = ()) -> str:
    """Run ``tessera data import``; return the reference of the manifest."""
    from tessera.cli.recipes import overrides
    from tessera.runtime.objects import open_store
    from tessera.runtime.settings import load

    url = store or os.environ.get("TESSERA_STORE") or load().store
    given = dict(overrides(settings))
    found = asyncio.run(_import(open_store(url, load(store=url)), folder, None if layout == "auto" else layout, given))
    sizes = ", ".join(f"{count} {split}" for split, count in found.split_sizes.items())
    manifest = found.message.manifest
    return f"{found.name}: {sizes}, {len(found.class_names)} classes\n" + json.dumps(
        {"store": url, "manifest": manifest.key, "sha256": manifest.sha256}
    )


def pool(kind: str, source: Path, folder: Path, seed: int, layout: str, settings: Iterable[str]) -> str:
    """Run ``tessera data pool``; return a sentence on the pool, and the splits to evaluate on if one is missing by
    intent.
    """
    from tessera.cli.recipes import overrides
    from tessera.datasets.making import make_pool
    from tessera.datasets.pools import POOLS

    given = dict(overrides(settings))
    of_source = {key.removeprefix("source."): given.pop(key) for key in list(given) if key.startswith("source.")}
    if seed < 0:
        raise BadInput(f"--seed {seed}: give a whole number from 0")
    with ProgressBar(f"making pool {kind}") as bar:
        make_pool(
            kind, source, folder, given, seed, None if layout == "auto" else layout, of_source,
            lambda done, total, _: bar.update(done, total, "images"), bar.line,
        )  # fmt: skip
    evaluate = POOLS.entry(kind).traits.evaluate
    hint = f"\nmeasure it with: --set evaluate='[{', '.join(evaluate)}]' --set checkpoint=last" if evaluate else ""
    return describe(folder) + hint


def examine(folder: Path) -> str:
    """Describe a data set folder after reading the header of every file; BadInput names each unreadable file."""
    from tessera.datasets.checking import check_headers
    from tessera.datasets.reader import links_out, read_dataset
    from tessera.datasets.samples import Problems

    problems = Problems(str(folder))
    source = read_dataset(folder, problems=problems)
    with ProgressBar("reading headers") as bar:
        check_headers(source, problems, lambda done, total, what: bar.update(done, total, what))
    problems.check()
    return "\n".join(line for line in (_in_words(folder, source), links_out(source)) if line)


def describe(folder: Path) -> str:
    """Return a data set folder in one line, checked by name but not decoded; BadInput when it is none."""
    from tessera.datasets.reader import read_dataset

    return _in_words(folder, read_dataset(folder))


def _in_words(folder: Path, source: Source) -> str:
    sizes = ", ".join(f"{len(samples)} {split}" for split, samples in source.splits.items())
    return f"{folder}: layout {source.layout}, {sizes}, {len(source.classes.classes)} classes"
