"""Label maps that come with images by reference: read, checked against their images, and copied into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from tessera.datasets.naming import image_id
from tessera.datasets.samples import Classes
from tessera.errors import BadInput
from tessera.formats import images
from tessera.formats.manifests import ImageItem
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.examining import LeftOut
from tessera.runtime.importing import in_order
from tessera.runtime.references import Seen, is_hidden, sha256
from tessera.runtime.sources import ImageSource, SourceRefused

_OF_NONE: Final = "is the label map of no image that was imported: they have equal names; rename it or remove it"


async def known_labels(
    labels: ImageSource,
    fresh: Mapping[str, ImageItem],
    there: Mapping[str, ObjectRef | None],
    classes: Classes,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[dict[str, bytes], list[LeftOut]]:
    """Return label maps of new images as PNG of class indices by image id, and what is left out.

    ``fresh``: the new images, by the id that their names give. ``there``: images that the data set has, by id, with
    their labels. Left out is what fits no image or not its image, has no labelled pixel, or would change a label.
    """
    listed: list[Seen] = []
    async for page in labels.pages():
        listed += [one for one in page if not is_hidden(one)]

    made: dict[str, bytes] = {}
    left_out: list[LeftOut] = []
    async for done, found in in_order(sorted(listed), lambda one: _look(labels, one, fresh, there, classes)):
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif found is not None:
            made[found[0]] = found[1]
        if progress is not None:
            progress(done, len(listed), "labels")
    return made, left_out


async def _look(
    labels: ImageSource,
    one: Seen,
    fresh: Mapping[str, ImageItem],
    there: Mapping[str, ObjectRef | None],
    classes: Classes,
) -> tuple[str, bytes] | LeftOut | None:
    """Return a new image's id and label map, or why a file is left out; None: the data set has this label."""
    here, id_ = labels.address(one.name), image_id(one.name)
    item = fresh.get(id_)
    if item is None and id_ not in there:
        return LeftOut(here, f"{here}: {_OF_NONE}")
    try:
        data = await labels.read(one.name)
        if item is not None:
            await asyncio.to_thread(_check, data, here, classes, item)
            return item.image_id, data
    except SourceRefused:
        raise
    except BadInput as error:
        return LeftOut(here, str(error))
    label = there[id_]
    if label is not None and label.sha256 == sha256(data):
        return None
    has = "no label" if label is None else "another label"
    why = f"image {id_} is in the data set with {has}, which stays; labels are taken with new images"
    return LeftOut(here, f"{here}: {why}")


def _check(data: bytes, name: str, classes: Classes, item: ImageItem) -> None:
    decoded = images.decode_labels(data, name, len(classes.classes), classes.ignore_index, (item.height, item.width))
    if (decoded == classes.ignore_index).all():
        raise BadInput(f"{name}: has no labelled pixel, only {classes.ignore_index}; label some, or remove it")
