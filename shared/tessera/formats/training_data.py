"""Read a training method's data from ledgers, region maps and the pool, and store its artefacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.between_jobs import between_jobs
from tessera.errors import BadInput
from tessera.formats import images, schemas, shards, tables, weights
from tessera.formats.blobs import Blobs
from tessera.formats.manifests import DatasetManifest, ImageItem
from tessera.formats.media import PARQUET, PNG, SAFETENSORS
from tessera.formats.samples import StoredImage, from_answers
from tessera.lru import ByteLimitedLRU
from tessera.pb.common_pb2 import ModelRef, ObjectRef, RegionShard
from tessera.training.artefacts import Artefact, Tensors
from tessera.training.phase import State
from tessera.training.samples import Needs, PartialSample, TrainingData, Unlabelled, UnlabelledKind

_maps: ByteLimitedLRU[str, NDArray[np.int32]] = between_jobs.keep(
    "region maps", ByteLimitedLRU(128 << 20, lambda regions: regions.nbytes)
)


class StoredMap:
    """A region map in the store: decoded on access, and kept with others of its kind while they fit."""

    def __init__(self, item: ImageItem, ref: ObjectRef, read: Callable[[ObjectRef], bytes]) -> None:
        self._item, self._ref, self._read = item, ref, read
        self.shape = (item.height, item.width)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.int32]:
        regions = _maps.get(self._ref.sha256)
        if regions is None:
            regions = images.decode_map(self._read(self._ref), f"region map of {self._item.image_id}")
            _maps.put(self._ref.sha256, regions)
        if regions.shape != self.shape:
            raise BadInput(
                f"region map of {self._item.image_id} is {regions.shape[1]}×{regions.shape[0]} pixels, its image "
                f"{self._item.width}×{self._item.height}; partition the data set again"
            )
        return regions.copy() if copy else regions


def gather(
    dataset: DatasetManifest,
    split: str,
    ledgers: Sequence[Mapping[str, Any]],
    pool: Sequence[RegionShard],
    needs: Needs,
    blobs: Blobs,
) -> TrainingData:
    """Read what ``needs`` asks for. Images of the pool come without labels: no label map is ever opened here.

    BadInput as in `from_answers`, or when regions are asked for and an image is in no shard.
    """
    asked = list(dict.fromkeys(str(image_id) for ledger in ledgers for image_id in ledger["image_id"]))
    partial = needs.view == "regions"
    return TrainingData(
        samples=() if partial else from_answers(dataset, split, ledgers, needs.view, blobs, needs.without_pixels),
        partial=_partial(dataset, split, ledgers, pool, blobs) if partial else (),
        unlabelled=_unlabelled(dataset, asked, pool, needs.unlabelled, blobs),
        # Answers without pixels were refused by the samples above, or left out on request.
        whole=from_answers(dataset, split, ledgers, "images", blobs, "skip") if needs.whole else (),
    )


def _unlabelled(
    dataset: DatasetManifest, asked: Sequence[str], pool: Sequence[RegionShard], kind: UnlabelledKind, blobs: Blobs
) -> list[Unlabelled]:
    """Return the images of the pool in the order of the manifest."""
    if kind == "none":
        return []
    known = set(asked)
    items = [item for shard in pool for item in dataset.items(shard.images)]
    wanted = [item for item in items if kind == "pool" or (item.image_id in known) == (kind == "asked")]
    return [Unlabelled(item.image_id, StoredImage(item, blobs)) for item in wanted]


def _partial(
    dataset: DatasetManifest,
    split: str,
    ledgers: Sequence[Mapping[str, Any]],
    pool: Sequence[RegionShard],
    blobs: Blobs,
) -> list[PartialSample]:
    """Return one sample per answered image, in ledger order; of two answers for a region the later counts."""
    found: dict[str, dict[int, list[int]]] = {}
    for ledger in ledgers:
        for image_id, region, classes in zip(ledger["image_id"], ledger["region_id"], ledger["classes"], strict=True):
            found.setdefault(str(image_id), {})[int(region)] = [int(index) for index in classes]
    items = {item.image_id: item for item in dataset.by_id(split, list(found))}
    refs = shards.map_refs(pool, blobs.read)
    samples = []
    for image_id, answers in found.items():
        if image_id not in refs:
            raise BadInput(f"region maps: none of {len(pool)} shards holds image {image_id!r}")
        regions = sorted(answers)
        rows = np.stack([_row(image_id, region, answers[region], dataset) for region in regions])
        stored = StoredMap(items[image_id], refs[image_id], blobs.read)
        picture = StoredImage(items[image_id], blobs)
        samples.append(PartialSample(image_id, picture, stored, np.array(regions, np.int64), rows))
    return samples


def _row(image_id: str, region: int, classes: Sequence[int], dataset: DatasetManifest) -> NDArray[np.bool_]:
    """Return the classes that an answer names as a mask (C + 1,); the last entry is the undefined class."""
    count = len(dataset.classes)
    row = np.zeros(count + 1, bool)
    for index in classes:
        if not 0 <= index < count and index != dataset.ignore_index:
            raise BadInput(
                f"ledger: region {region} of {image_id} names class {index}; {dataset.name} has 0 to {count - 1}"
            )
        row[count if index == dataset.ignore_index else index] = True
    return row


def previous(model: ModelRef, blobs: Blobs) -> State:
    """Return the weights of the round before, for a method that goes on from them."""
    loaded = weights.load(blobs.read(model.weights), f"weights {model.weights.key}")
    return {name: array.copy() for name, array in loaded.items()}


def write_artefact(artefact: Artefact, blobs: Blobs) -> ObjectRef:
    """Store a method's artefacts: tensors as safetensors; maps as PNG with a table of their references (`PLANES`)."""
    if isinstance(artefact, Tensors):
        return blobs.write(weights.save(artefact.arrays), SAFETENSORS)
    columns: dict[str, list[Any]] = {name: [] for name in schemas.PLANES.names}
    for image_id, planes in artefact.images:
        for plane, values in planes.items():
            ref = blobs.write(images.encode_png(values), PNG)
            row = {"image_id": image_id, "plane": plane, "height": values.shape[0], "width": values.shape[1]}
            row |= {part: getattr(ref, part) for part in ("bucket", "key", "sha256", "size", "media_type")}
            for name, column in columns.items():
                column.append(row[name])
    return blobs.write(tables.write(schemas.PLANES, columns), PARQUET)
