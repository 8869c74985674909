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
from tessera.formats.manifests import (
    DatasetManifest,
    ImageItem,
    LabelManifest,
    SeriesPlace,
    dataset_from_json,
    dataset_to_json,
    labels_from_json,
    labels_to_json,
)
from tessera.formats.media import PNG
from tessera.formats.outside import address, unusable
from tessera.formats.versions import DatasetVersion
from tessera.pb.common_pb2 import Dataset, ObjectRef
from tessera.registry import canonical_json
from tessera.runtime import series
from tessera.runtime.examining import Examined, Journal, LeftOut, examine
from tessera.runtime.given_labels import known_labels
from tessera.runtime.importing import in_order
from tessera.runtime.references import Seen, is_hidden, sha256
from tessera.runtime.sources import ImageSource

SPLIT: Final = "train"
_LARGEST: Final = 1 << 30
_JSON: Final = "application/json"

Progress = Callable[[int, int, str], None]


class Objects(series.Erasing, Protocol):
    """The part of the object store that an import by reference needs."""

    async def get(self, ref: ObjectRef) -> bytes:
        """Return the verified bytes of an object."""


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
    by_name: dict[str, ImageItem] = field(default_factory=dict)
    """The images by the id that their names give; of another source, their own may differ."""


async def import_images(
    store: Objects,
    source: ImageSource,
    classes: Classes,
    name: str,
    naming: Naming,
    journal: Journal,
    labels: ImageSource | None = None,
    progress: Progress | None = None,
) -> tuple[DatasetVersion, Found]:
    """Look at every image of a source and store the manifest of version 1 of the data set ``name``.

    ``labels`` has label maps of some images, by their names: class indices as PNG. They are copied, and become the
    answers of round 0. The same source imported again gives the same version. BadInput: the name is taken by other
    images, no image is left, a pattern or CSV does not fit. Everything else that cannot be imported is in
    ``Found.left_out``.
    """
    keys.check_series(name, "--name")
    found = await look_through(source, classes, naming, journal, {}, progress)
    if not found.items:
        raise BadInput(_nothing(source, found))
    maps = await _labels(labels, found, {}, classes, progress)
    manifest = _numbered(classes, name, tuple(found.items), maps, None)
    made = await _store(store, manifest, maps, {}, source, classes.frame_rate)
    newest = await series.version(store, name)
    first = await series.version(store, name, 1)
    if first is not None and first.dataset == made.dataset:
        journal.remove()
        return newest or first, found
    if first is not None or await series.numbers(store, name):
        raise BadInput(
            f"data set {name}: is in the store with other images, labels or classes; add images with: tessera data "
            f"append {name} {source.where}, or give another --name"
        )
    await series.add(store, made)
    journal.remove()
    return made, found


async def append_images(
    store: Objects,
    source: ImageSource,
    name: str,
    naming: Naming,
    journal: Journal,
    labels: ImageSource | None = None,
    progress: Progress | None = None,
) -> tuple[DatasetVersion, Found]:
    """Store the next version of a data set: its images as they are, and those of the source that it has not.

    ``labels`` has label maps of some new images, as in `import_images`: a run that takes up the version has them as
    answers in that round. Nothing is ever removed, and an image that the data set has keeps its id, hash and place, and
    its label or that it has none. Without a new image the newest version is returned. BadInput: an unknown data set, or
    another version added at the same moment.
    """
    before, _ = await series.named(store, f"{series.PREFIX}{name}")
    old = dataset_from_json(await store.get(before.dataset.manifest), before.dataset.manifest.key)
    assert old.series is not None  # noqa: S101  # every version has a place
    classes = Classes(old.classes, old.ignore_index, before.frame_rate, task=old.task)
    known = {item.image_id: item for item in old.split(SPLIT)}
    found = await look_through(source, classes, naming, journal, known, progress)
    given: dict[str, ObjectRef] = {}
    if before.dataset.HasField("given"):
        data = await store.get(before.dataset.given)
        given = dict(labels_from_json(data, before.dataset.given.key).labels)
    there = {one: given.get(one) for one in known}
    maps = await _labels(labels, found, there, classes, progress)
    if not found.items:
        journal.remove()
        return before, found
    place = old.series, before.dataset.manifest.sha256
    manifest = _numbered(classes, name, (*old.split(SPLIT), *found.items), maps, place)
    made = await _store(store, manifest, maps, given, source, classes.frame_rate)
    if given and not maps:
        made.dataset.given.CopyFrom(before.dataset.given)
    await series.add(store, made)
    journal.remove()
    return made, found


async def _labels(
    source: ImageSource | None,
    found: Found,
    there: Mapping[str, ObjectRef | None],
    classes: Classes,
    progress: Progress | None,
) -> dict[str, bytes]:
    if source is None:
        return {}
    maps, left_out = await known_labels(source, found.by_name, there, classes, progress)
    found.left_out += left_out
    return maps


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
    known_places = {address(item.image) for item in known.values()}
    fresh = [one for one in listed if source.address(one.name) not in known_places]
    found.known = len(listed) - len(fresh)
    contents = {item.image.sha256: address(item.image) for item in known.values()}
    taken = {item.image_id: address(item.image) for item in known.values()}
    async for one in examine(source, fresh, journal, progress):
        if isinstance(one, LeftOut):
            found.left_out.append(one)
            continue
        here, id_ = source.address(one.name), image_id(one.name)
        if id_ in known:
            # Of another source: a folder of the next day whose names begin at 1 again.
            id_ = f"{id_[:119]}-{sha256(here.encode())[:8]}"
        if other := contents.get(one.sha256):
            why = f"has the same content as {other}, which is kept; remove one of them"
        elif other := taken.get(id_):
            why = f"has the id {id_} of {other}, which is kept; rename one of them"
        else:
            contents[one.sha256] = taken[id_] = here
            found.items.append(_item(source, id_, one, place.get(one.name)))
            found.by_name[image_id(one.name)] = found.items[-1]
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
            if is_hidden(one):
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


def _item(source: ImageSource, id_: str, found: Examined, place: Place | None) -> ImageItem:
    reference = source.reference(found.name, found.sha256, found.size, found.media_type)
    return ImageItem(id_, reference, found.width, found.height, *(place or ("", 0.0)))


def _nothing(source: ImageSource, found: Found) -> str:
    reasons = "".join(f"\n  {one.why}" for one in found.left_out[:20])
    return f"{source.where}: no images to import; check the address{reasons}"


def _numbered(
    classes: Classes,
    name: str,
    items: tuple[ImageItem, ...],
    maps: Mapping[str, bytes],
    before: tuple[SeriesPlace, str] | None,
) -> DatasetManifest:
    """Make the manifest of a version; ``before``: place and SHA-256 of the one before."""
    place = SeriesPlace(name, before[0].number + 1, before[1]) if before else SeriesPlace(name, 1)
    content = [
        [[info.name, *info.color] for info in classes.classes],
        classes.ignore_index,
        [[item.image_id, address(item.image), item.image.sha256, item.sequence, item.time] for item in items],
        [[image, sha256(maps[image])] for image in sorted(maps)],
        place.previous,
    ]
    digest = sha256(canonical_json(content).encode())[:12]
    return DatasetManifest(
        f"{name}-{digest}", classes.classes, {SPLIT: items}, classes.ignore_index, classes.task, place
    )


async def _store(
    store: Objects,
    manifest: DatasetManifest,
    maps: Mapping[str, bytes],
    given: Mapping[str, ObjectRef],
    source: ImageSource,
    frame_rate: float,
) -> DatasetVersion:
    """Store label maps and manifests; ``given``: labels of the version before, which stay where they are."""
    assert manifest.series is not None  # noqa: S101  # every caller numbers it
    made = Dataset()
    if maps:
        references = dict(given)

        async def put(image: str) -> tuple[str, ObjectRef]:
            return image, await store.put(keys.dataset_label(manifest.name, SPLIT, image), maps[image], PNG)

        async for _, (image, stored) in in_order(sorted(maps), put):
            references[image] = stored
        body = labels_to_json(LabelManifest(SPLIT, references))
        made.given.CopyFrom(await store.put(keys.dataset_labels(manifest.name, SPLIT), body, _JSON))
    # The manifest is written last: where it exists, everything it names exists.
    made.manifest.CopyFrom(await store.put(keys.dataset_manifest(manifest.name), dataset_to_json(manifest), _JSON))
    return DatasetVersion(
        manifest.series.name,
        manifest.series.number,
        made,
        manifest.sizes(),
        tuple(info.name for info in manifest.classes),
        source.where,
        frame_rate,
    )


def lines(left_out: Iterable[LeftOut]) -> list[str]:
    """Return one line for each file that is left out."""
    return [" ".join(one.why.split()) for one in left_out]
