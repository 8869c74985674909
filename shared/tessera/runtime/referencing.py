"""Import images without labels by reference: nothing is copied, everything is looked at once.

A manifest keeps where each image is, its hash and its size in pixels. Whatever is not imported is reported with its
name and the remedy: damaged and empty files, files that are no images, and images that are there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from tessera.datasets.naming import NamePattern, Place, image_id, read_times
from tessera.datasets.samples import IMAGE_SUFFIXES, Classes
from tessera.errors import BadInput
from tessera.formats import keys
from tessera.formats.manifests import DatasetManifest, ImageItem, SeriesPlace, dataset_to_json
from tessera.formats.outside import address, unusable
from tessera.formats.versions import DatasetVersion
from tessera.pb.common_pb2 import Dataset, ObjectRef
from tessera.registry import canonical_json
from tessera.runtime import series
from tessera.runtime.examining import Examined, Journal, LeftOut, examine
from tessera.runtime.references import Seen, make_ref, sha256
from tessera.runtime.sources import ImageSource

SPLIT: Final = "train"
_LARGEST: Final = 1 << 30
_LISTED: Final = 5000

Progress = Callable[[int, int, str], None]


class Objects(series.Erasing, Protocol):
    """The part of the object store that an import by reference needs."""

    async def exists(self, key: str) -> ObjectRef | None:
        """Return the reference of the object at a key, or None."""


@dataclass(frozen=True)
class Naming:
    """How videos and times are known: from names, by a regular expression or the default, or from a CSV."""

    pattern: str | None = None
    times: Path | None = None


@dataclass
class Found:
    """The images of a source in the order of their names, and everything in it that is left out."""

    items: list[ImageItem] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    known: int = 0
    """Images that the data set has already."""
    stills: int = 0
    """Images without sequence and time although a pattern or a CSV was given."""


async def import_images(
    store: Objects,
    source: ImageSource,
    classes: Classes,
    name: str,
    naming: Naming,
    journal: Journal,
    progress: Progress | None = None,
) -> tuple[DatasetVersion, Found]:
    """Look at every image of a source and store the manifest of version 1 of the data set ``name``.

    The same source imported again gives the same version. BadInput: the name is taken by other images, no image is
    left, a pattern or CSV does not fit. Everything else that cannot be imported is in ``Found.left_out``.
    """
    keys.check_series(name, "--name")
    found = await look_through(source, classes, naming, journal, {}, progress)
    if not found.items:
        raise BadInput(_nothing(source, found))
    manifest = _numbered(classes, name, tuple(found.items), None)
    made = await _store(store, manifest, None, source)
    newest = await series.version(store, name)
    first = await series.version(store, name, 1)
    if first is not None and first.dataset.manifest == made.dataset.manifest:
        journal.remove()
        return newest or first, found
    if first is not None or await series.numbers(store, name):
        raise BadInput(
            f"data set {name}: is in the store with other images or classes; add images with: tessera data append "
            f"{name} {source.where}, or give another --name"
        )
    await series.add(store, made)
    journal.remove()
    return made, found


async def look_through(
    source: ImageSource,
    classes: Classes,
    naming: Naming,
    journal: Journal,
    known: Mapping[str, ImageItem],
    progress: Progress | None = None,
) -> Found:
    """Return the images of a source that are not ``known`` (by id), each of a content of its own."""
    found = Found()
    listed = await _list(source, found, progress)
    # Before a single image is read.
    place = _placing(naming, classes, [one.name for one in listed])
    fresh = [one for one in listed if not _is_known(source, one, known)]
    found.known = len(listed) - len(fresh)
    contents = {item.image.sha256: address(item.image) for item in known.values()}
    taken = {item.image_id: address(item.image) for item in known.values()}
    async for one in examine(source, fresh, journal, progress):
        if isinstance(one, LeftOut):
            found.left_out.append(one)
            continue
        here, id_ = source.address(one.name), image_id(one.name)
        if other := contents.get(one.sha256):
            why = f"has the same content as {other}, which is kept; remove one of them"
        elif other := taken.get(id_):
            why = f"has the id {id_} of {other}, which is kept; rename one of them"
        else:
            contents[one.sha256] = taken[id_] = here
            found.items.append(_item(source, id_, one, place.get(one.name)))
            found.stills += place.get(one.name) is None
            continue
        found.left_out.append(LeftOut(here, f"{here}: {why}"))
    return found


async def _list(source: ImageSource, found: Found, progress: Progress | None) -> list[Seen]:
    """Return what may be an image, by name; hidden files do not count."""
    listed: list[Seen] = []
    seen = 0
    async for page in source.pages():
        seen += len(page)
        for one in page:
            if any(part.startswith(".") for part in one.name.split("/")):
                continue
            if why := _no_image(one):
                found.left_out.append(LeftOut(source.address(one.name), f"{source.address(one.name)}: {why}"))
            else:
                listed.append(one)
        if progress is not None:
            progress(seen, seen, "listed")
    return sorted(listed)


def _no_image(seen: Seen) -> str:
    if problem := unusable(seen.name):
        return f"{problem}; rename it"
    if not seen.name.lower().endswith(IMAGE_SUFFIXES):
        return "is no PNG or JPEG file by its name; convert it, or leave it where it is: it is not used"
    if not seen.size:
        return "is empty; upload it again or remove it"
    if seen.size > _LARGEST:
        return f"has {seen.size >> 20} MiB, so it is no image; remove it"
    return ""


def _placing(naming: Naming, classes: Classes, names: Sequence[str]) -> Mapping[str, Place | None]:
    """Return sequence and time by name; None where nothing is said about a name."""
    if naming.times is not None:
        if naming.pattern is not None:
            raise BadInput("--names and --times: both say where an image is in time; give one")
        return read_times(naming.times, names)
    pattern = NamePattern(naming.pattern, classes.frame_rate)
    places = {name: pattern.place(name) for name in names}
    if names and naming.pattern is not None and not any(places.values()):
        raise BadInput(f"--names {naming.pattern!r}: fits none of {len(names)} names, such as {names[0]!r}")
    return places


def _is_known(source: ImageSource, seen: Seen, known: Mapping[str, ImageItem]) -> bool:
    item = known.get(image_id(seen.name))
    return item is not None and address(item.image) == source.address(seen.name)


def _item(source: ImageSource, id_: str, found: Examined, place: Place | None) -> ImageItem:
    reference = source.reference(found.name, found.sha256, found.size, found.media_type)
    return ImageItem(id_, reference, found.width, found.height, *(place or ("", 0.0)))


def _nothing(source: ImageSource, found: Found) -> str:
    reasons = "".join(f"\n  {one.why}" for one in found.left_out[:20])
    return f"{source.where}: no images to import; check the address{reasons}"


def _numbered(
    classes: Classes, name: str, items: tuple[ImageItem, ...], before: tuple[SeriesPlace, str] | None
) -> DatasetManifest:
    """Make the manifest of a version; ``before``: place and SHA-256 of the one before."""
    place = SeriesPlace(name, before[0].number + 1, before[1]) if before else SeriesPlace(name, 1)
    content = [
        [[info.name, *info.color] for info in classes.classes],
        classes.ignore_index,
        [[item.image_id, address(item.image), item.image.sha256, item.sequence, item.time] for item in items],
        place.previous,
    ]
    digest = sha256(canonical_json(content).encode())[:12]
    return DatasetManifest(
        f"{name}-{digest}", classes.classes, {SPLIT: items}, classes.ignore_index, classes.task, place
    )


async def _store(
    store: Objects, manifest: DatasetManifest, given: ObjectRef | None, source: ImageSource
) -> DatasetVersion:
    assert manifest.series is not None  # noqa: S101  # every caller numbers it
    data = dataset_to_json(manifest)
    reference = make_ref(store.bucket, keys.dataset_manifest(manifest.name), data, "application/json")
    found = await store.exists(reference.key)
    if found is None or found.sha256 != reference.sha256:
        await store.put(reference.key, data, reference.media_type)
    return DatasetVersion(
        manifest.series.name,
        manifest.series.number,
        Dataset(manifest=reference),
        sizes(manifest),
        tuple(info.name for info in manifest.classes),
        source.where,
    )


def sizes(manifest: DatasetManifest) -> dict[str, int]:
    """Return the number of images by split."""
    return {split: len(items) for split, items in manifest.splits.items()}


def lines(left_out: Iterable[LeftOut]) -> list[str]:
    """Return one line for each file that is left out."""
    return [" ".join(one.why.split()) for one in left_out]
