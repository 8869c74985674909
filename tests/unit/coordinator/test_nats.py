"""The coordinator as a process has it: real NATS, real gRPC; only the workers answer from the simulator."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import pytest

from tessera.errors import BadInput, Unavailable
from tessera.loop.plan import Job
from tessera.pb import runs_pb2 as pb
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.runtime import envelopes, messaging, rpc, service, settings, topology
from tessera.runtime.events import EventLog
from tessera.runtime.objects import open_store
from tessera.runtime.runs_client import RunsClient
from unit.coordinator.fake_log import REQUESTS
from unit.coordinator.test_driver import ENDED, reference, selections
from unit.loop.simulator import World, job_done, load, spec_of, walk

SERVICE = "tessera.v1.RunsService"


class Cluster:
    """Coordinators and a worker for every method, in this process."""

    def __init__(self, nats_url, folder, **changes):
        self.settings = settings.load(
            nats_url=nats_url,
            store=f"file://{folder}",
            grpc_host="127.0.0.1",
            grpc_port=0,
            drain_seconds=1,
            fetch_expires=0.5,
            **changes,
        )
        self.store = open_store(self.settings.store, self.settings)
        self.world = World()
        self.by_reference = Counter()
        self.tasks = []
        self.stopping = False

    async def __aenter__(self):
        self.connection = await messaging.connect(self.settings.nats_url, name="test-workers")
        verbs = [method.lower() for method in REQUESTS]
        await topology.ensure(self.connection, self.settings, verbs)
        self.events = EventLog(self.connection)
        self.tasks = [asyncio.create_task(self.work(verb)) for verb in verbs]
        return self

    async def __aexit__(self, *_):
        self.stopping = True
        await asyncio.gather(*self.tasks)
        await self.connection.close()

    async def work(self, verb):
        pull = await self.connection.bind(topology.JOBS, topology.consumer_name(verb))
        while not self.stopping:
            try:
                delivery = await pull.fetch(1)
                if delivery is None:
                    continue
                envelope = JobEnvelope.FromString(delivery.data)
                content = envelope.request
                if envelope.HasField("request_ref"):
                    content = await envelopes.request_of(envelope, self.store, self.settings.request_bytes)
                    self.by_reference[envelope.method] += 1
                request = REQUESTS[envelope.method].FromString(content)
                response = self.world.answer(Job(envelope.method, request))
                done = job_done(envelope.job_key, envelope.method, response)
                await self.events.job_done(envelope.run_id, done.job_done.record)
                await delivery.ack_sync()
            except Unavailable:
                await asyncio.sleep(0.1)
        await pull.close()

    @contextlib.asynccontextmanager
    async def coordinator(self):
        """A coordinator; yields its address."""
        ready = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(
            service.serve(["coordinator"], self.settings, on_ready=ready.set_result, signals=False)
        )
        try:
            await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
            yield await ready if not task.done() else task.result()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def submit(address, spec):
    return (
        await rpc.call(address, f"{SERVICE}/SubmitRun", pb.SubmitRunRequest(spec=spec), pb.SubmitRunResponse, 20)
    ).run


async def ended(address, run_id="run-1"):
    async with asyncio.timeout(60):
        request = pb.WatchRunRequest(run_id=run_id)
        async for response in rpc.stream(address, f"{SERVICE}/WatchRun", request, pb.WatchRunResponse):
            if response.run.status in ENDED:
                return response.run
    raise AssertionError("the watch ended before the run")


async def started(cluster, run_id="run-1"):
    log = await cluster.events.read(run_id)
    return Counter(
        (event.step_started.round, event.step_started.step) for _, event in log if event.HasField("step_started")
    )


async def test_a_run_over_nats_and_grpc_with_two_coordinators(nats_url, tmp_path):
    spec = spec_of(load("street_meal", budget__rounds=2))
    async with Cluster(nats_url, tmp_path) as cluster, cluster.coordinator() as one, cluster.coordinator() as two:
        began = time.monotonic()
        await asyncio.gather(submit(one, spec), submit(two, spec))
        first, second = await asyncio.gather(ended(one), ended(two))
        steps = await started(cluster)
        print(f"{sum(steps.values())} steps in {time.monotonic() - began:.2f} s")
        assert first == second
        assert first.status == pb.RUN_STATUS_DONE
        assert set(steps.values()) == {1}
        assert selections(first) == reference(budget__rounds=2)
        with pytest.raises(BadInput, match="unknown"):
            await rpc.call(one, f"{SERVICE}/GetRun", pb.GetRunRequest(run_id="no"), pb.GetRunResponse, 5)


async def test_a_run_over_four_hundred_shards(nats_url, tmp_path):
    changes = {
        "budget__rounds": 1,
        "partition": {"name": "image"},
        "selection__initial": [{"name": "random_images", "images": 32}],
    }
    spec = spec_of(load("street_entropy", **changes), train=6400)
    async with Cluster(nats_url, tmp_path) as cluster, cluster.coordinator() as one:
        await submit(one, spec)
        run = await ended(one)
        assert (run.status, run.message) == (pb.RUN_STATUS_DONE, "spent")
        assert not run.shards
        async with RunsClient(one) as client:
            assert len((await client.with_shards(run)).shards) == 400
        # Whatever names the whole pool went through the store, and everything else in its message.
        assert cluster.by_reference == {"Select": 2, "Answer": 2, "Train": 2}
        assert selections(run) == [
            cluster.world.answer(step.jobs[0]).selection_sha256 for step in walk(spec).started if step.step == "select"
        ]


@pytest.mark.full
@pytest.mark.faults
async def test_nats_and_the_coordinator_die_in_mid_run(nats_server, tmp_path):
    spec = spec_of(load("street_random", budget__rounds=3))
    async with Cluster(nats_server.url, tmp_path) as cluster:
        async with cluster.coordinator() as one:
            await submit(one, spec)
            while len(await started(cluster)) < 4:
                await asyncio.sleep(0.02)
        async with cluster.coordinator() as two:
            while len(await started(cluster)) < 8:
                await asyncio.sleep(0.02)
            nats_server.kill()
            nats_server.start()
            run = await ended(two)
        assert run.status == pb.RUN_STATUS_DONE
        assert selections(run) == reference("street_random", budget__rounds=3)
        assert set((await started(cluster)).values()) == {1}
