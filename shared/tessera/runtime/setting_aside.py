"""Set random images of a data set aside for evaluation, before the first event of a run.

The command line does it before it submits, so that a data set that is too small is refused before anything starts. The
coordinator does it for any other caller. Both get the same spec, byte for byte, and the run's first event keeps it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from tessera.errors import BadInput
from tessera.formats.manifests import dataset_from_json, dataset_to_json, labels_from_json
from tessera.loop.evaluation_set import SPLIT, chosen, wanted
from tessera.loop.recipe import EvaluationSet, Recipe
from tessera.pb.common_pb2 import Dataset, ObjectRef
from tessera.pb.runs_pb2 import RunSpec

_TRAIN = "train"


class Contents(Protocol):
    """The part of the object store that this needs."""

    async def get(self, ref: ObjectRef) -> bytes:
        """Return the verified bytes of an object."""

    async def put_content(self, data: bytes, media_type: str) -> ObjectRef:
        """Store bytes under their hash."""


async def completed(store: Contents, recipe: Recipe, spec: RunSpec) -> RunSpec:
    """Return the spec with its evaluation set put aside, where the recipe asks for one and there is no split val yet.

    A spec that is complete is returned as it is, so that to do this twice changes nothing.
    """
    if recipe.evaluation is None or not wanted(recipe, spec) or spec.split_sizes.get(SPLIT, 0):
        return spec
    dataset, sizes = await set_aside(store, spec.dataset, recipe.evaluation)
    made = RunSpec()
    made.CopyFrom(spec)
    made.dataset.CopyFrom(dataset)
    made.split_sizes.clear()
    made.split_sizes.update(sizes)
    return made


async def set_aside(store: Contents, dataset: Dataset, size: EvaluationSet) -> tuple[Dataset, dict[str, int]]:
    """Return the data set with ``size.images`` random images of train as split val, and the sizes of its splits.

    They are drawn among the images that came without labels, so that no answer is asked for twice. They depend on the
    images' ids and ``size.seed`` alone: runs of a comparison have the same, and people are asked once. BadInput where
    nothing would be left to train on.
    """
    reference = dataset.manifest
    manifest = await asyncio.to_thread(dataset_from_json, await store.get(reference), reference.key)
    given = set()
    if dataset.HasField("given"):
        given = set(labels_from_json(await store.get(dataset.given), dataset.given.key).labels)
    train = manifest.split(_TRAIN)
    free = [item.image_id for item in train if item.image_id not in given]
    if size.images >= len(free) + bool(given):
        raise BadInput(
            f"evaluation.images: {size.images}, but data set {manifest.name} has {len(free)} images without labels "
            "and some must be left to learn from; lower it, or add images"
        )
    drawn = chosen(free, size.images, size.seed)
    parts = {
        _TRAIN: tuple(item for item in train if item.image_id not in drawn),
        SPLIT: tuple(item for item in train if item.image_id in drawn),
    }
    made = replace(manifest, splits={**manifest.splits, **parts})
    kept = Dataset()
    kept.CopyFrom(dataset)
    kept.manifest.CopyFrom(await store.put_content(dataset_to_json(made), "application/json"))
    return kept, made.sizes()
