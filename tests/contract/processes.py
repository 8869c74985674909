"""The services as separate processes, and a client of both their doors."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import Message

from integration.loop import environment
from tessera.pb import runs_pb2 as runs
from tessera.pb.jobs_pb2 import JobEnvelope, JobRecord
from tessera.runtime import catalogue, jobkeys, rpc, topology
from tessera.runtime.events import EventLog
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.method import Method
from tessera.runtime.objects import ObjectStore, open_store
from tessera.runtime.records import Records
from tessera.runtime.settings import load

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.parent.name for path in ROOT.glob("services/*/__main__.py"))
METHODS: dict[str, Method] = {
    method.name: method for name in NAMES for method in importlib.import_module(f"services.{name}.handler").METHODS
}
OWNERS = {method.name: name for name in NAMES for method in importlib.import_module(f"services.{name}.handler").METHODS}


@dataclass
class Served:
    """The processes, and the addresses for a client."""

    folder: Path
    nats_url: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def store_url(self) -> str:
        """The folder that all of them use as their object store."""
        return (self.folder / "store").as_uri()

    def start(self, name: str) -> None:
        """Start a process; it is ready when it has written its ready file."""
        self._share_compiled()
        settings = {
            "TESSERA_NATS_URL": self.nats_url,
            "TESSERA_STORE": self.store_url,
            "TESSERA_READY_FILE": str(self.ready(name)),
            "TESSERA_CHILDREN": "1",
            "TESSERA_FETCH_EXPIRES": "0.5",
            "TESSERA_FSYNC": "false",
            "TESSERA_SCRATCH_DIR": str(self.folder),
            "TESSERA_CACHE_DIR": str(self.folder / "cache"),
            # Of the dashboard, which answers without a coordinator, too.
            "TESSERA_COORDINATOR": "127.0.0.1:9",
            "TESSERA_HTTP_TOKEN": "a-token-of-this-test-alone",
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}"],
                env=environment(**settings),
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )

    def _share_compiled(self) -> None:
        """Objects are cached anew, but kernels are not compiled for each test module and child again."""
        compiled = load().cache_dir / "numba"
        compiled.mkdir(parents=True, exist_ok=True)
        link = self.folder / "cache" / "numba"
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(compiled)

    def ready(self, name: str) -> Path:
        """Its ready file."""
        return self.folder / f"{name}.ready"

    def log(self, name: str) -> str:
        """The end of what it wrote."""
        return (self.folder / f"{name}.log").read_text()[-3000:]

    def address(self, name: str) -> str:
        """Its gRPC address, once it is ready."""
        end = time.monotonic() + 100
        while not self.ready(name).exists():
            assert self.processes[name].poll() is None, self.log(name)
            assert time.monotonic() < end, f"{name} is not ready:\n{self.log(name)}"
            time.sleep(0.05)
        return str(json.loads(self.ready(name).read_text())["address"])


@dataclass
class Client:
    """Both doors."""

    served: Served
    messaging: Messaging
    events: EventLog
    store: ObjectStore
    asked: int = 0

    async def grpc(self, method: str, request: Message) -> bytes:
        """The bytes of the response, as they came over the wire."""
        bound = METHODS[method]
        path = f"{bound.service}/{bound.name}"
        async with rpc.Channel(self.served.address(OWNERS[method])) as channel:
            with rpc._raised(channel.address, path, 90):
                stub = channel._channel.unary_unary(f"/{path}")
                return bytes(await stub(request.SerializeToString(), timeout=90))

    async def submit(self, method: str, request: Message) -> str:
        """Queue a job in a run of its own; returns the run."""
        self.asked += 1
        run_id = f"contract-{self.asked}-{time.monotonic_ns()}"
        key = catalogue.job_key(method, request)
        await self.events.dispatch(
            JobEnvelope(job_key=key, method=method, request=request.SerializeToString(), run_id=run_id)
        )
        return run_id

    async def end(self, run_id: str, name: str, seconds: float = 90) -> runs.RunEvent:
        """The first event of this run, which says how its job ended."""
        until = time.monotonic() + seconds
        while not (events := await self.events.read(run_id)):
            assert time.monotonic() < until, f"no end of {run_id}:\n{self.served.log(name)}"
            await asyncio.sleep(0.03)
        return events[0][1]

    async def jetstream(self, method: str, request: Message) -> JobRecord:
        """The record that the worker announced."""
        event = await self.end(await self.submit(method, request), OWNERS[method])
        assert event.HasField("job_done"), event.job_failed.failure
        return event.job_done.record

    async def record(self, method: str, key: str) -> JobRecord:
        """The record that is kept."""
        found = await Records(self.messaging, self.store).find(method, key)
        assert found is not None
        return found

    async def forget(self, method: str, key: str) -> None:
        """Remove the record, so that the next request is computed again."""
        await self.messaging.kv_delete(topology.RESULTS, key)
        (self.served.folder / "store" / jobkeys.record_key(method, key)).unlink()


@contextlib.asynccontextmanager
async def client(served: Served) -> AsyncIterator[Client]:
    """Connect to the servers that the processes use."""
    settings = load(nats_url=served.nats_url, store=served.store_url, fsync=False)
    messaging = await connect(served.nats_url, name="contract")
    try:
        yield Client(served, messaging, EventLog(messaging), open_store(served.store_url, settings))
    finally:
        await messaging.close()
