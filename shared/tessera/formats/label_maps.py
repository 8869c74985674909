"""Label maps and answers: images with their labels, and answers about whole images as the labels of a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tessera.errors import BadInput
from tessera.formats import images, manifests, shards
from tessera.formats.blobs import Blobs
from tessera.formats.media import PNG
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.queries import AnnotatedImage
from tessera.regions import RegionTable, region_table

_UNDEFINED = 255

Decoded = tuple[AnnotatedImage, RegionTable, ObjectRef, ObjectRef]
"""An image, its regions, and the references of its region map and its labels."""


def labelled_frames(
    request: AnswerRequest, blobs: Blobs, by_image: dict[str, list[int]]
) -> Iterator[tuple[Decoded, list[int]]]:
    """Decode each image's labels and region map once; one image in memory at a time."""
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    maps = shards.map_refs(request.shards, blobs.read)
    labels = manifests.labels_from_json(blobs.read(request.labels))
    last: tuple[str, np.ndarray[Any, np.dtype[np.int32]], RegionTable] | None = None
    for image_id, asked in by_image.items():
        if image_id not in maps:
            raise BadInput(f"selection: image {image_id!r} has no region map in the shards of this request")
        ref, label = maps[image_id], labels.label(image_id)
        if last is None or last[0] != ref.sha256:
            # Images of one size share the map of a grid.
            regions = images.decode_map(blobs.read(ref), f"region map of {image_id}")
            last = ref.sha256, regions, region_table(regions)
        _, regions, table = last
        shape = (regions.shape[0], regions.shape[1])
        classes, undefined = len(dataset.classes), dataset.ignore_index
        truth = images.decode_labels(blobs.read(label), f"label of {image_id}", classes, undefined, shape)
        yield (AnnotatedImage(image_id, truth, regions, undefined, classes), table, ref, label), asked


def add_labels(
    response: AnswerResponse, request: AnswerRequest, answered: Iterable[tuple[str, bytes]], blobs: Blobs
) -> None:
    """Write a label map for every image of the split ``labels_of``, and their manifest into ``response.labels``.

    ``answered``: image id and answer (PNG, 255 where undefined) of whole images. An image that nobody answered is
    undefined everywhere, so that it counts for nothing. BadInput: an answer that is not of its whole image.
    """
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    by_image = dict(answered)
    labels: dict[str, ObjectRef] = {}
    for item in dataset.split(request.labels_of):
        shape = (item.height, item.width)
        if item.image_id in by_image:
            name = f"answer to {item.image_id}"
            made = images.decode_labels(by_image[item.image_id], name, len(dataset.classes), _UNDEFINED, shape)
            made = np.where(made == _UNDEFINED, dataset.ignore_index, made).astype(np.uint8)
        else:
            made = np.full(shape, dataset.ignore_index, np.uint8)
        labels[item.image_id] = blobs.write(images.encode_png(made), PNG)
    unknown = sorted(set(by_image) - set(labels))
    if unknown:
        raise BadInput(f"answers: image {unknown[0]} is not in split {request.labels_of} of {dataset.name}")
    data = manifests.labels_to_json(manifests.LabelManifest(request.labels_of, labels))
    response.labels.CopyFrom(blobs.write(data, "application/json"))
