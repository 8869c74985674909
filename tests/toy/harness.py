"""Toy services as real processes, and the jobs and checks that tests of the frame share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tessera.pb.jobs_pb2 import JobEnvelope, JobRecord
from tessera.pb.runs_pb2 import RunEvent, RunFinished, RunSubmitted, StepStarted
from tessera.pb.scorer_pb2 import ScoreColumn, ScoreRequest
from tessera.runtime import topology
from tessera.runtime.audit import Audit, audit
from tessera.runtime.dead_letters import DeadLetters
from tessera.runtime.events import EventLog
from tessera.runtime.jobkeys import job_key
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.objects import ObjectStore, open_store
from tessera.runtime.records import Records
from tessera.runtime.settings import Settings, load
from unit.loop.simulator import load as load_recipe
from unit.loop.simulator import spec_of

RUN = "run-1"
PATIENCE = 120.0
"""Seconds that a test waits for what must happen. Not a requirement: a slow machine is no failure."""


def request(seed: int, *commands: str) -> ScoreRequest:
    return ScoreRequest(seed=seed, columns=[ScoreColumn(column=command) for command in commands])


def envelope(job: ScoreRequest, run_id: str = RUN, algorithm: str = "toy/1") -> JobEnvelope:
    key = job_key("Score", algorithm, job)
    return JobEnvelope(job_key=key, method="Score", request=job.SerializeToString(), run_id=run_id, algorithm=algorithm)


@dataclass
class ToyService:
    """One process; ``address`` is known once it is ready."""

    folder: Path
    environment: dict[str, str]
    name: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text()

    def start(self, **more: str) -> ToyService:
        ready = self.folder / f"{self.name}.ready"
        ready.unlink(missing_ok=True)
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "toy.serve"],
                env={**os.environ, **self.environment, **more, "TESSERA_READY_FILE": str(ready)},
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + PATIENCE
        while not ready.exists() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if not ready.exists() and not more.get("TESSERA_FAILPOINT"):
            raise RuntimeError(f"the toy service did not start:\n{self.log[-3000:]}")
        return self

    @property
    def address(self) -> str:
        return str(json.loads((self.folder / f"{self.name}.ready").read_text())["address"])

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        assert self.process is not None
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(timeout=5)


@dataclass
class Bed:
    """NATS, a file store, a client connection and any number of toy services."""

    folder: Path
    settings: Settings
    messaging: Messaging
    events: EventLog
    store: ObjectStore
    environment: dict[str, str]
    services: list[ToyService] = field(default_factory=list)
    _last: int = 0

    def service(self, **more: str) -> ToyService:
        service = ToyService(self.folder, self.environment, f"toy-{len(self.services)}")
        self.services.append(service)
        return service.start(**more)

    async def start(self, **more: str) -> ToyService:
        return await asyncio.to_thread(lambda: self.service(**more))

    async def submit(self, *jobs: ScoreRequest, run_id: str = RUN) -> list[str]:
        keys = []
        for job in jobs:
            sealed = envelope(job, run_id)
            await self.events.dispatch(sealed)
            keys.append(sealed.job_key)
        return keys

    async def run(self, *jobs: ScoreRequest) -> list[str]:
        """Queue jobs as the one step of a run, which ``audited`` can check; returns their keys."""
        keys = [envelope(job).job_key for job in jobs]
        spec = spec_of(load_recipe("street_entropy"), run_id=RUN)
        started = StepStarted(round=0, step="score", job_keys=keys)
        last = await self.events.append(RUN, RunEvent(submitted=RunSubmitted(spec=spec)), 0)
        self._last = await self.events.append(RUN, RunEvent(step_started=started), last)
        await self.submit(*jobs)
        return keys

    async def audited(self, keys: list[str], seconds: float = 280) -> Audit:
        """Wait until every job of ``run`` has ended, end the run, and hold it to what ``tessera audit`` checks."""
        end = time.monotonic() + seconds
        while left := await self._untold(keys):
            logs = "\n".join(service.log[-2000:] for service in self.services)
            assert time.monotonic() < end, f"{len(left)} of {len(keys)} jobs have no end after {seconds} s\n{logs}"
            await asyncio.sleep(0.2)
        await self.idle()
        await self.events.append(RUN, RunEvent(finished=RunFinished(reason="all jobs ended")), self._last)
        found = await audit(RUN, self.events, Records(self.messaging, self.store), self.store)
        assert found.violations == []
        assert (found.status, found.jobs) == ("done", len(keys))
        assert await DeadLetters(self.messaging).list() == []
        return found

    async def _untold(self, keys: list[str]) -> set[str]:
        events = [event for _, event in await self.events.read(RUN)]
        assert [event.job_failed.failure for event in events if event.HasField("job_failed")] == []
        return set(keys) - {event.job_done.record.job_key for event in events}

    async def ends(self, count: int, seconds: float = PATIENCE, run_id: str = RUN) -> list[RunEvent]:
        """The run's events, once there are at least ``count``."""
        end = time.monotonic() + seconds
        while True:
            found = [event for _, event in await self.events.read(run_id)]
            if len(found) >= count:
                return found
            logs = "\n".join(service.log[-2000:] for service in self.services)
            assert time.monotonic() < end, f"{len(found)} of {count} events after {seconds} s\n{logs}"
            await asyncio.sleep(0.05)

    def runs(self, seed: int) -> int:
        """How often the computation with this seed began."""
        return len(list((self.folder / "runs").glob(f"{seed}-*")))

    async def idle(self, seconds: float = PATIENCE) -> None:
        """Wait until the queue is empty."""
        await eventually(self._empty, seconds)

    async def _empty(self) -> bool:
        return (await self.messaging._js.stream_info(topology.JOBS)).state.messages == 0

    async def record(self, key: str) -> JobRecord | None:
        return await Records(self.messaging, self.store).find("Score", key)


async def eventually(check: Callable[[], object], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while True:
        result = check()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        assert time.monotonic() < end, f"{check} was not so after {seconds} s"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def bed(folder: Path, nats_url: str, **fields: object) -> AsyncIterator[Bed]:
    """A bed with short waits; ``fields`` are further settings."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    chosen: dict[str, object] = {
        "nats_url": nats_url,
        "store": (folder / "store").as_uri(),
        "ack_wait": 2.0,
        "heartbeat": 0.5,
        "fetch_expires": 0.5,
        "drain_seconds": 5.0,
        "children": 1,
        "cores": 1,
        "fsync": False,
        **fields,
    }
    settings = load(**chosen)
    environment = {f"TESSERA_{name.upper()}": str(value) for name, value in chosen.items()}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), "TOY_RUNS": str(folder / "runs")}
    messaging = await connect(nats_url, name="bed", token=str(chosen["nats_token"]) if "nats_token" in chosen else None)
    await topology.ensure(messaging, settings, ["score"])
    store = open_store(settings.store, settings)
    made = Bed(folder, settings, messaging, EventLog(messaging), store, environment)
    try:
        yield made
    finally:
        for service in made.services:
            service.kill()
        await messaging.close()


def each(values: list[RunEvent], kind: str) -> Iterator[RunEvent]:
    return (value for value in values if value.WhichOneof("kind") == kind)
