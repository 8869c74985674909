"""The two sides of the scorer's throughput: the bare forward pass, and the same images through the service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from pathlib import Path

from tessera.pb.common_pb2 import AxisValue, ImageRange, JobContext, ModelRef, RegionShard
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.pb.partitioner_pb2 import PartitionRequest, PartitionResponse
from tessera.pb.scorer_pb2 import ScoreColumn, ScoreRequest
from tessera.runtime import topology
from tessera.runtime.catalogue import job_key
from tessera.runtime.events import EventLog
from tessera.runtime.importing import import_dataset
from tessera.runtime.messaging import connect
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load

ARCHITECTURE = AxisValue(name="deeplabv3plus_mobilenetv2", parameters="{}")
SHARD = 16
RUN = "bench"


def _street(folder: Path, count: int) -> Path:
    from tessera.datasets.street.params import StreetParams
    from tessera.datasets.street.write import make_street

    params = StreetParams(height=360, width=480, train=-(-count // 8), val=1, test=1, frames=8)
    return folder if (folder / "classes.json").exists() else make_street(folder, params)


@lru_cache(maxsize=1)
def _weights() -> bytes:
    from tessera import models
    from tessera.formats.checkpoints import dump_model

    return dump_model(models.build(ARCHITECTURE.name, "{}", 11, seed=0))


def bare_seconds(folder: Path, count: int) -> float:
    """Seconds for the forward pass alone, one image at a time in one thread, images already decoded."""
    import torch

    from tessera.formats.checkpoints import build_model
    from tessera.formats.images import decode_rgb
    from tessera.models.predictor import Predictor

    files = sorted((_street(folder / "data", count) / "images" / "train").iterdir())[:count]
    images = [decode_rgb(path.read_bytes(), path.name) for path in files]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        predictor = Predictor(build_model(ARCHITECTURE, 11, _weights(), "bench"))
        predictor.logits(images[0])
        begun = time.perf_counter()
        for image in images:
            predictor.logits(image)
        return time.perf_counter() - begun
    finally:
        torch.set_num_threads(before)


@contextlib.asynccontextmanager
async def service_seconds(folder: Path, nats_url: str, count: int) -> AsyncIterator[Callable[[int], Awaitable[float]]]:
    """Yield a function that puts ``count`` images through the running scorer service and returns the seconds."""
    chosen = {"nats_url": nats_url, "store": (folder / "store").as_uri(), "children": 1, "cores": 1}
    settings = load(**chosen)
    environment = {**os.environ, **{f"TESSERA_{name.upper()}": str(value) for name, value in chosen.items()}}
    messaging = await connect(nats_url, name="bench")
    await topology.ensure(messaging, settings, ["partition", "score"])
    log, store = EventLog(messaging), open_store(settings.store, settings)
    data = await asyncio.to_thread(_street, folder / "data", count)
    dataset, _ = await import_dataset(store, data)
    weights = await store.put_content(_weights(), "application/octet-stream")
    model = ModelRef(architecture=ARCHITECTURE, classes=11, weights=weights)
    command = [sys.executable, "-m", "tessera.cli.host", "partitioner", "scorer"]
    with (folder / "service.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=output, stderr=output)
    last = 0

    async def through(method: str, requests: list[PartitionRequest] | list[ScoreRequest]) -> dict[str, bytes]:
        nonlocal last
        keys = [job_key(method, request) for request in requests]
        for key, request in zip(keys, requests, strict=True):
            sealed = JobEnvelope(job_key=key, method=method, request=request.SerializeToString(), run_id=RUN)
            await log.dispatch(sealed)
        answers: dict[str, bytes] = {}
        async for logged in log.follow(RUN, last + 1):
            last = logged.sequence
            assert logged.event.WhichOneof("kind") == "job_done", logged.event
            answers[logged.event.job_done.record.job_key] = logged.event.job_done.record.response
            if len(answers) == len(keys):
                break
        return {key: answers[key] for key in keys}

    ranges = [ImageRange(split="train", start=s, end=min(s + SHARD, count)) for s in range(0, count, SHARD)]
    cut = [
        PartitionRequest(
            context=JobContext(run_id=RUN),
            manifest=dataset.manifest,
            images=part,
            partition=AxisValue(name="grid", parameters='{"cols":4,"height":null,"rows":4,"width":null}'),
        )
        for part in ranges
    ]
    try:
        shards = [PartitionResponse.FromString(one).shard for one in (await through("Partition", cut)).values()]
        columns = [
            ScoreColumn(
                column="entropy_mean",
                score=AxisValue(name="entropy", parameters="{}"),
                aggregation=AxisValue(name="mean", parameters="{}"),
            )
        ]

        def score(seed: int, parts: list[RegionShard]) -> list[ScoreRequest]:
            return [
                ScoreRequest(manifest=dataset.manifest, shard=part, model=model, columns=columns, seed=seed)
                for part in parts
            ]

        await through("Score", score(10_000, shards[:1]))  # imports and compiles

        async def measure(repeat: int) -> float:
            begun = time.perf_counter()
            await through("Score", score(repeat, shards))
            return time.perf_counter() - begun

        yield measure
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), timeout=20)
        await messaging.close()
