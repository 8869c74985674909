"""Requests that a run would make, with their inputs in the store, so that one service can be asked alone.

The selector's are made from tables of random numbers. Every other service's come from a walk through the plan of a
tiny street run, whose earlier steps are computed here, in this process, by Tessera's own services.
"""

from __future__ import annotations

import asyncio
import copy
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf.message import Message

from tessera.errors import BadInput
from tessera.formats import schemas, tables
from tessera.formats.media import PARQUET
from tessera.loop import plan
from tessera.loop.reading import parse
from tessera.loop.recipe import Recipe
from tessera.loop.reducer import RunState, apply
from tessera.loop.responses import references
from tessera.pb.common_pb2 import AxisValue, ImageRange, JobContext, ObjectRef, RegionShard
from tessera.pb.jobs_pb2 import JobRecord
from tessera.pb.runs_pb2 import JobDone, RunEvent, RunSpec, RunSubmitted, StepStarted
from tessera.pb.selector_pb2 import Budget, SelectRequest
from tessera.runtime import catalogue
from tessera.runtime.method import Method
from tessera.runtime.objects import ObjectStore

RECIPE: Final[dict[str, Any]] = {
    "recipe": "conformance",
    "description": "The smallest run in which every service has work.",
    "dataset": {
        "name": "street",
        "parameters": {"height": 64, "width": 96, "train": 2, "val": 1, "test": 1, "frames": 3, "seed": 3},
    },
    "partition": {"name": "grid", "rows": 4, "cols": 4},
    "query": {"name": "mask"},
    "oracle": {"name": "simulated"},
    "model": {"name": "deeplabv3plus_mobilenetv2", "output_stride": 16, "width": 0.25, "pretrained": "random"},
    "score": [{"name": "entropy", "aggregate": "mean"}],
    "selection": {
        "initial": [{"name": "random_images", "images": 1}],
        "stages": [{"name": "top", "by": "entropy_mean"}],
    },
    "budget": {"unit": "regions", "per_round": 8, "rounds": 1},
    "training": {"name": "supervised", "epochs": 1, "final_epochs": None, "batch": 4},
    "checkpoint": "last",
    "evaluate": ["val"],
    "runtime": {"shard_images": 16},
}
_EMBEDDED: Final[dict[str, Any]] = {
    "initial": [{"name": "random_images", "images": 1}],
    "shortlist": [{"name": "top", "count": 24, "by": "entropy_mean"}],
    "embedding": {"features": {"name": "backbone"}, "projection": {"name": "pca"}, "fit_on": "pool"},
    "stages": [{"name": "kmeans_plusplus"}],
}
_CHANGES: Final[dict[str, dict[str, Any]]] = {
    "embedder": {"selection": _EMBEDDED},
    "trainer": {"score": [*RECIPE["score"], {"name": "labeledness", "epochs": 1, "batch": 2}]},
}
_OF_PEOPLE: Final = "Ask"
"""The one method that a run has only where people answer."""
_IMAGES, _GRID, _LABELLED = 3, 16, 5


@dataclass(frozen=True)
class SampleRequest:
    """A request of a method, valid, with all its inputs in the store."""

    method: Method
    request: Message

    def copy(self) -> Any:
        """Return a copy of the request that may be changed."""
        return copy.deepcopy(self.request)

    def reference(self, request: Message) -> ObjectRef:
        """Return the first object that a request names, to be changed in place."""
        return next(references(request))


def methods_of(service: str) -> list[Method]:
    """Return the methods of a service; BadInput names the services that there are."""
    owned = [method for owner, method in catalogue.methods().values() if owner == service]
    if not owned:
        known = ", ".join(sorted({owner for owner, _ in catalogue.methods().values()}))
        raise BadInput(f"conformance {service!r}: no service with jobs; known: {known}")
    return owned


def recipe_for(service: str, settings: Sequence[tuple[str, Any]], seed: int) -> Recipe:
    """Return the recipe whose requests are sent; ``settings`` change it, ``seed`` makes its job keys new."""
    whole = {**copy.deepcopy(RECIPE), **_CHANGES.get(service, {})}
    whole["dataset"]["parameters"]["seed"] = seed
    return parse(whole, list(settings))


async def samples(service: str, recipe: Recipe, store: ObjectStore, seed: int) -> list[SampleRequest]:
    """Return one sample per method of the service, inputs stored."""
    methods = methods_of(service)
    if service == "selector":
        return [SampleRequest(methods[0], await _selection(recipe, store, seed))]
    wanted = {method.name for method in methods}
    found = await _walk(wanted - {_OF_PEOPLE}, recipe, store, seed)
    if _OF_PEOPLE in wanted:
        # Such a run asks before it scores, and nobody answers here.
        people = parse({**json.loads(recipe.canonical()), "oracle": {"name": "human"}}, [])
        found |= await _walk({_OF_PEOPLE}, people, store, seed)
    return [SampleRequest(method, found[method.name]) for method in methods]


async def _selection(recipe: Recipe, store: ObjectStore, seed: int) -> SelectRequest:
    """Two shards of regions with random scores and points, of which some are labelled."""
    rng = np.random.default_rng(seed)
    request = SelectRequest(context=JobContext(run_id="conformance", round=1, step="select"), seed=seed)
    for shard in range(2):
        images = [f"frame_{shard * _IMAGES + one:03d}" for one in range(_IMAGES)]
        key = {"image_id": np.repeat(images, _GRID), "region_id": np.tile(np.arange(_GRID, dtype=np.int32), _IMAGES)}
        count = len(key["region_id"])
        pixels = {"pixels": np.full(count, 384, np.int32)}
        box = {name: np.zeros(count, np.int32) for name in ("y0", "x0", "y1", "x1")}
        columns = {one.column: rng.random(count, np.float32) for one in recipe.score}
        if not shard:
            # Labelled regions would be chosen first.
            for column in columns.values():
                column[:_LABELLED] = 2.0
        put = {
            "regions": tables.write(schemas.REGIONS, {**key, **pixels, **box}),
            "scores": tables.write(schemas.scores(list(columns)), {**key, **pixels, **columns}),
        }
        refs = {name: await store.put_content(data, PARQUET) for name, data in put.items()}
        place = ImageRange(split="train", start=shard * _IMAGES, end=(shard + 1) * _IMAGES)
        request.shards.append(RegionShard(images=place, regions=refs["regions"], region_count=count))
        request.scores.append(refs["scores"])
    request.ledgers.append(await store.put_content(_ledger(), PARQUET))
    if recipe.selection.embedding is not None:
        everything: dict[str, Any] = {
            "image_id": [f"frame_{one:03d}" for one in range(2 * _IMAGES) for _ in range(_GRID)],
            "region_id": list(range(_GRID)) * (2 * _IMAGES),
        }
        points = {f"x{axis}": rng.random(2 * _IMAGES * _GRID, np.float32) for axis in range(2)}
        data = tables.write(schemas.embedding(2), {**everything, **points})
        request.embedding.CopyFrom(await store.put_content(data, PARQUET))
    request.stages.extend(stage.message() for stage in recipe.selection.stages)
    request.constraints.extend(one.message() for one in recipe.selection.constraints)
    request.budget.CopyFrom(Budget(unit=recipe.budget.unit, amount=recipe.budget.per_round))
    return request


def _ledger() -> bytes:
    """Answers to the first regions of the first image."""
    empty: dict[str, Any] = {"list<item: int32>": [0], "string": ""}
    columns: dict[str, Any] = {one.name: [empty.get(str(one.type), 0)] * _LABELLED for one in schemas.LEDGER}
    columns |= {"image_id": ["frame_000"] * _LABELLED, "region_id": list(range(_LABELLED))}
    return tables.write(schemas.LEDGER, columns)


async def _walk(wanted: set[str], recipe: Recipe, store: ObjectStore, seed: int) -> dict[str, Message]:
    """Go through the plan of a run until every wanted method was asked, and compute what comes before here."""
    from tessera.cli import data

    with tempfile.TemporaryDirectory(prefix="tessera-conformance-") as scratch:
        imported = await data.into_store(store, recipe, None, Path(scratch) / "data")
    spec = RunSpec(
        run_id="conformance",
        recipe=recipe.canonical(),
        dataset=imported.message,
        seed=seed,
        dataset_name=imported.name,
        split_sizes=imported.split_sizes,
        class_names=imported.class_names,
        shard_images=recipe.runtime.shard_images,
    )
    found: dict[str, Message] = {}
    state = apply(RunState(), RunEvent(submitted=RunSubmitted(spec=spec)))
    while isinstance(action := plan.next_action(state), plan.StartStep):
        keys = [catalogue.job_key(job.method, job.request) for job in action.jobs]
        state = apply(state, RunEvent(step_started=StepStarted(round=action.round, step=action.step, job_keys=keys)))
        for key, job in zip(keys, action.jobs, strict=True):
            found.setdefault(job.method, job.request)
            if wanted <= set(found):
                return found
            method = catalogue.methods()[job.method][1]
            response = await Here(store).perform(method, job.request)
            record = JobRecord(job_key=key, method=method.name, algorithm=method.algorithm, response=response)
            state = apply(state, RunEvent(job_done=JobDone(record=record)))
    raise BadInput(f"conformance: the recipe has no work for {', '.join(sorted(wanted - set(found)))}; change --set")


class Here:
    """Computes a job in this process: the context of its reads, and the store as its computation sees it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._read: dict[str, bytes] = {}
        self._written: list[tuple[bytes, str]] = []

    async def perform(self, method: Method, request: Message) -> bytes:
        """Return the response, its objects stored."""
        for ref in await method.reads(request, self):
            self._read[ref.sha256] = await self._store.get(ref)
        response = await asyncio.to_thread(method.compute, request, self)
        for data, media_type in self._written:
            await self._store.put_content(data, media_type)
        return response.SerializeToString(deterministic=True)

    async def fetch(self, ref: ObjectRef) -> bytes:
        """Return the verified bytes of an object."""
        return await self._store.get(ref)

    def read(self, ref: ObjectRef) -> bytes:
        """Return the bytes of an object that the method named among its reads."""
        return self._read[ref.sha256]

    def local(self) -> Mapping[str, str]:
        """Return no files: these computations start no processes."""
        return {}

    def write(self, data: bytes, media_type: str) -> ObjectRef:
        """Keep bytes until they are stored; return their reference."""
        from tessera.runtime.references import content_key, make_ref, sha256

        self._written.append((data, media_type))
        return make_ref(self._store.bucket, content_key(sha256(data)), data, media_type)

    def earlier(self) -> bytes | None:
        """Return nothing: there was no earlier attempt."""
        return None

    def due(self) -> bool:
        """Return False: nothing is kept."""
        return False

    def keep(self, data: bytes) -> None:
        """Keep nothing: the job is short."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Report nothing."""

    def speed(self, images_per_second: float) -> None:
        """Report nothing."""


def first_axis(request: Message) -> AxisValue | None:
    """Return the first named choice in a request, to be changed in place; None when it has none."""
    for field, value in request.ListFields():
        if field.message_type is None:
            continue
        for each in value if field.is_repeated and not hasattr(value, "values") else [value]:
            if isinstance(each, AxisValue):
                return each
            if isinstance(each, Message) and (found := first_axis(each)) is not None:
                return found
    return None
