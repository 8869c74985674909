"""A crowd of workers that compute nothing: they answer a coordinator's jobs over real NATS as fast as they can."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil

from tessera.errors import Unavailable
from tessera.pb import common_pb2 as common
from tessera.pb import evaluator_pb2, oracle_pb2, partitioner_pb2, scorer_pb2, selector_pb2, trainer_pb2
from tessera.pb.jobs_pb2 import JobEnvelope, JobRecord
from tessera.runtime import topology
from tessera.runtime.events import EventLog
from tessera.runtime.messaging import Messaging

ROOT = Path(__file__).parents[2]
VERBS = ("partition", "score", "select", "answer", "train", "evaluate")
REGIONS_PER_IMAGE, CHOSEN = 16, 16
_TOGETHER = 256


def reference(key: str, kind: str) -> common.ObjectRef:
    """Return a reference as of a service: a function of the job and of the object's kind."""
    digest = hashlib.sha256(f"{key}:{kind}".encode()).hexdigest()
    path = f"cas/sha256/{digest[:2]}/{digest[2:]}"
    return common.ObjectRef(bucket="local", key=path, sha256=digest, size=4096, media_type="application/parquet")


def answer(envelope: JobEnvelope) -> Any:
    """Return the response to a job, from its key and, where the planner reads more, from its request."""
    key = envelope.job_key
    match envelope.method:
        case "Partition":
            images = partitioner_pb2.PartitionRequest.FromString(envelope.request).images
            count = (images.end - images.start) * REGIONS_PER_IMAGE
            shard = common.RegionShard(
                images=images, regions=reference(key, "regions"), maps=reference(key, "maps"), region_count=count
            )
            return partitioner_pb2.PartitionResponse(shard=shard, pixel_count=count * 100)
        case "Score":
            return scorer_pb2.ScoreResponse(scores=reference(key, "scores"), region_count=REGIONS_PER_IMAGE)
        case "Select":
            made = reference(key, "selection")
            return selector_pb2.SelectResponse(selection=made, selection_sha256=made.sha256, count=CHOSEN)
        case "Answer":
            cost = oracle_pb2.Cost(regions=CHOSEN, images=CHOSEN, pixels=1600, clicks=160)
            return oracle_pb2.AnswerResponse(ledger=reference(key, "ledger"), cost=cost)
        case "Train":
            model = common.ModelRef(classes=3, weights=reference(key, "weights"))
            return trainer_pb2.TrainResponse(model=model, history=reference(key, "history"), kept_epoch=1)
        case "Evaluate":
            images = evaluator_pb2.EvaluateRequest.FromString(envelope.request).images
            pixels = 10 * (images.end - images.start)
            return evaluator_pb2.EvaluateResponse(
                confusion=reference(key, "confusion"), images=images.end - images.start,
                true_positives=[6 * pixels, 2 * pixels, 0], false_positives=[pixels, pixels, 0],
                false_negatives=[pixels, pixels, 0],
            )  # fmt: skip
    raise AssertionError(envelope.method)


class Crowd:
    """Workers of every method; ``done`` counts results by method, ``paused`` holds them."""

    def __init__(self, connection: Messaging) -> None:
        self._connection = connection
        self._events = EventLog(connection)
        self.done: Counter[str] = Counter()
        self.going = asyncio.Event()
        self.going.set()
        self._leaving = False

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[Crowd]:
        """Work until the block ends."""
        self._leaving = False
        tasks = [asyncio.create_task(self._work(verb)) for verb in VERBS]
        try:
            yield self
        finally:
            # Not cancelled: a cancelled fetch may swallow its cancellation and go on for ever.
            self._leaving = True
            self.going.set()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, verb: str) -> None:
        bound = await self._connection._js.pull_subscribe_bind(consumer=topology.consumer_name(verb), stream="JOBS")
        while not self._leaving:
            await self.going.wait()
            try:
                messages = await bound.fetch(_TOGETHER, timeout=1)
            except TimeoutError:
                continue
            await asyncio.gather(*(self._perform(message) for message in messages))
        # A connection that closes waits for subscriptions that are left, up to 5 s.
        await bound.unsubscribe()

    async def _perform(self, message: Any) -> None:
        envelope = JobEnvelope.FromString(message.data)
        response = answer(envelope).SerializeToString(deterministic=True)
        record = JobRecord(
            job_key=envelope.job_key, method=envelope.method, algorithm="1", response=response,
            compute_seconds=1.0, job_seconds=1.5, worker="crowd:1", attempt=1,
        )  # fmt: skip
        while True:
            with contextlib.suppress(Unavailable):
                await self._events.job_done(envelope.run_id, record)
                break
        await message.ack()
        self.done[envelope.method] += 1


class Coordinator:
    """``python -m services.coordinator`` as a separate process, with its CPU time and memory."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._ready = folder / "ready.json"
        self._log = folder / "coordinator.log"
        self._environment = {**os.environ, **environment, "TESSERA_READY_FILE": str(self._ready)}
        self._process: subprocess.Popen[bytes] | None = None
        self.peak_bytes = 0
        self.cpu_seconds = 0.0

    def start(self, seconds: float = 120.0) -> str:
        """Start; returns the address once it answers."""
        self._ready.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "services.coordinator"]
            # The write end of stdin closes with this process, however it ends: the lifeline.
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={**self._environment, "TESSERA_LIFELINE_FD": "0"}, stdin=subprocess.PIPE,
                stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + seconds
        while not self._ready.exists():
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.05)
        return str(json.loads(self._ready.read_text())["address"])

    def kill(self) -> None:
        """Note its costs, then SIGKILL."""
        assert self._process is not None
        if self._process.poll() is None:
            self._note()
        self._process.kill()
        self._process.communicate()
        self._process = None

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def _note(self) -> None:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
        self.peak_bytes = max(self.peak_bytes, peak)
        times = psutil.Process(self._process.pid).cpu_times()
        self.cpu_seconds += times.user + times.system

    def stop(self) -> None:
        """End it if it is still there."""
        if self._process is not None:
            self.kill()
