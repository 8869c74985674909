"""Something is missing, and the commands say what: a worker, a coordinator, a stream, a disk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from integration.loop import environment, start, tessera, until, write_recipe
from servers import NatsProcess
from tessera.cli import doctor
from tessera.cli.absence import QUEUES, absences
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.pb.workers_pb2 import MethodWorkers
from tessera.runtime import topology
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.presence import Watch, look
from tessera.runtime.rpc import is_serving
from tessera.runtime.settings import load

ROOT = Path(__file__).parents[2]


@dataclass
class Services:
    """Services as processes of their own, with short waits."""

    folder: Path
    nats: str
    coordinator: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "TESSERA_NATS_URL": self.nats,
            "TESSERA_STORE": (self.folder / "store").as_uri(),
            "TESSERA_ACK_WAIT": "2",
            "TESSERA_HEARTBEAT": "0.5",
            "TESSERA_FETCH_EXPIRES": "1",
            "TESSERA_FSYNC": "false",
            "TESSERA_SWEEP_SECONDS": "2",
        }

    @property
    def reached(self) -> dict[str, str]:
        return {**self.variables, "TESSERA_COORDINATOR": self.coordinator}

    def start(self, name: str) -> None:
        ready = self.folder / f"{name}.ready"
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}"],
                env=environment(**self.variables, TESSERA_READY_FILE=str(ready)),
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        until(ready.exists, 90, f"{name}: {(self.folder / f'{name}.log').read_text()[-500:]}")
        if name == "coordinator":
            self.coordinator = str(json.loads(ready.read_text())["address"])

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def services(tmp_path: Path, nats_server: NatsProcess) -> Iterator[Services]:
    made = Services(tmp_path, nats_server.url)
    made.start("coordinator")
    yield made
    made.stop()


@pytest.mark.full
def test_a_run_that_waits_for_nobody_says_what_to_start(services: Services, tmp_path: Path) -> None:
    sent = tessera("submit", write_recipe(tmp_path / "r"), **services.reached)
    assert sent.returncode == 0, sent.stderr
    run = sent.stdout.strip()
    log = tmp_path / "watch.log"
    watching = start("watch", run, log=log, **services.reached)
    try:
        until(lambda: "no worker for Partition since" in log.read_text(), 60, "watch to say what is missing")
    finally:
        watching.send_signal(signal.SIGINT)
        watching.wait(20)
    assert "start one with tessera service partitioner" in log.read_text()
    said = tessera("status", **services.reached).stdout
    assert "no worker for Partition since" in said
    assert "1 job waits" in said or "jobs wait" in said
    assert "no worker for Train" not in said, "no job waits for it"
    sick = tessera("doctor", "--coordinator", services.coordinator, **services.reached)
    assert sick.returncode == 3
    rows = {line.split()[0]: line for line in sick.stdout.splitlines() if not line.startswith(" ")}
    assert rows["workers"].split()[1] == "broken"
    assert "Train" in rows["workers"]
    assert "tessera service trainer" in rows["workers"]
    assert (rows["coordinator"].split()[1], rows["topology"].split()[1]) == ("ok", "ok")
    services.start("partitioner")
    until(lambda: "no worker for Partition" not in tessera("status", **services.reached).stdout, 60, "its worker")
    assert "Partition" not in doctor_rows(services)["workers"]
    cancelled = tessera("cancel", run, "--reason", "lunch\x1b[2J\nrun done", **services.reached)
    assert cancelled.returncode == 0
    assert cancelled.stdout.replace("\n", "").isprintable()
    assert len(cancelled.stdout.splitlines()) == 1
    watched = tessera("watch", run, **services.reached)
    assert watched.returncode == 130
    assert f"continue with: tessera resume {run}" in watched.stderr
    assert watched.stderr.replace("\n", "").isprintable()


def doctor_rows(services: Services) -> dict[str, str]:
    done = tessera("doctor", **services.reached)
    return {line.split()[0]: line for line in done.stdout.splitlines() if not line.startswith(" ")}


async def test_streams_that_are_wiped_under_live_services_are_noticed(services: Services) -> None:
    healthy = await asyncio.to_thread(tessera, "doctor", **services.reached)
    assert "topology     ok" in healthy.stdout, healthy.stdout
    messaging = await connect(services.nats, name="test")
    try:
        for name in (topology.JOBS, topology.EVENTS, f"KV_{topology.RESULTS}"):
            await messaging._js.delete_stream(name)
    finally:
        await messaging.close()
    deadline = asyncio.get_running_loop().time() + 60
    while await is_serving(services.coordinator):
        assert asyncio.get_running_loop().time() < deadline, "health still says SERVING"
        await asyncio.sleep(0.2)
    sick = await asyncio.to_thread(tessera, "doctor", **services.reached)
    assert sick.returncode == 3
    for missing in ("stream JOBS", "stream EVENTS", "bucket results", "consumer worker-train of JOBS"):
        assert f"{missing} is missing" in sick.stdout


def test_a_coordinator_that_is_gone_and_a_stream_that_was_edited_are_named(services: Services) -> None:
    async def edit() -> None:
        messaging = await connect(services.nats, name="test")
        config = (await messaging._js.stream_info(topology.DLQ)).config
        await messaging._js.update_stream(config.evolve(max_age=3600.0))
        await messaging.close()

    asyncio.run(edit())
    services.processes["coordinator"].kill()
    services.processes["coordinator"].wait()
    sick = tessera("doctor", **services.reached)
    assert sick.returncode == 3
    assert "stream DLQ: max_age is 3600" in sick.stdout
    assert f"{services.coordinator} does not serve" in sick.stdout


@pytest.mark.full
async def test_a_worker_that_computes_is_there_and_one_that_died_is_not(nats_url: str) -> None:
    settings = load(ack_wait=1.0, heartbeat=0.2)
    messaging = await connect(nats_url, name="test")
    try:
        await topology.ensure(messaging, settings, ["train"])
        watch = Watch(messaging, ["train"], settings.ack_wait, 0.2)
        watching = asyncio.create_task(watch.run())
        assert (await look(messaging, "train", settings.ack_wait)).absent
        subject = topology.job_subject("train")
        await messaging.publish(subject, JobEnvelope(job_key="k").SerializeToString())
        pull = await messaging.bind(topology.JOBS, topology.consumer_name("train"))
        fetching = asyncio.create_task(pull.fetch(5.0))
        taken = await fetching
        assert taken is not None

        async def beat() -> None:
            while True:
                await taken.in_progress()
                await asyncio.sleep(settings.heartbeat)

        beating = asyncio.create_task(beat())
        found = await look(messaging, "train", settings.ack_wait)
        assert not found.absent, "it computes, and only its heartbeats show that"
        await asyncio.sleep(2.0)
        known = watch.presence("train")
        assert known is not None
        assert not known.absent
        beating.cancel()
        # The job stays "taken", because no worker asks for it any more.
        deadline = asyncio.get_running_loop().time() + 30
        while not (known := watch.presence("train")) or not known.absent:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
        assert known.queue is not None
        assert known.queue.taken + known.queue.waiting == 1
        assert (await look(messaging, "train", settings.ack_wait)).absent
        asking = asyncio.create_task(pull.fetch(5.0))
        again = await asking
        assert again is not None
        await again.ack_sync()
        asking = asyncio.create_task(pull.fetch(5.0))
        await asyncio.sleep(0.3)
        assert not (await look(messaging, "train", settings.ack_wait)).absent, "its request waits"
        await asking
        watching.cancel()
    finally:
        await messaging.close()


def test_what_is_absent_in_words() -> None:
    here = MethodWorkers(method="Score", service="scorer", waiting_requests=1, waiting_jobs=5)
    idle = MethodWorkers(method="Fit", service="embedder", absent=True, unseen_seconds=90)
    gone = MethodWorkers(method="Train", service="trainer", absent=True, unseen_seconds=40.4, waiting_jobs=1)
    wiped = [MethodWorkers(method=name, absent=True, queue_missing=True) for name in ("Answer", "Select")]
    lines = absences([here, idle, gone, *wiped])
    assert lines["Train"] == (
        "no worker for Train since 40 s (1 job waits): start one with tessera service trainer; on Kubernetes, see why "
        "it is not ready: kubectl get pods -l app.kubernetes.io/name=trainer"
    )
    assert lines[QUEUES].startswith("the queues of Answer, Select are gone from NATS")
    assert len(lines) == 2
    assert absences(wiped[:1])[QUEUES].startswith("the queue of Answer is gone from NATS")


async def full(messaging: Messaging) -> doctor.Result:
    where = doctor.Where(messaging.url, None, None, None, None, None, local=False)
    return await doctor._room(where, messaging)


async def test_a_queue_that_is_almost_full_is_broken(nats_url: str) -> None:
    settings = load(jobs_limit=20)
    messaging = await connect(nats_url, name="test")
    try:
        await topology.ensure(messaging, settings, ["train"])
        assert (await full(messaging))[2] == 0
        for _ in range(20):
            await messaging.publish(topology.job_subject("train"), b"x")
        state, text, code = await full(messaging)
        assert (state, code) == (doctor.BROKEN, 3)
        assert "20 jobs wait of at most 20" in text
    finally:
        await messaging.close()


async def test_a_disk_that_is_almost_full_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = doctor.Where(None, None, (tmp_path / "store").as_uri(), None, None, None, local=False)
    assert (await doctor._disk(where))[0] == doctor.OK
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 2 * free)
    state, text, code = await doctor._disk(where)
    assert (state, code) == (doctor.BROKEN, 3)
    assert "make room" in text
