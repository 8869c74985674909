"""One run that cannot be read: it fails with the reason, and the other runs, status and start-up go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contract.processes import Served
from tessera.errors import BadInput
from tessera.pb import runs_pb2 as pb
from tessera.pb.evaluator_pb2 import EvaluateResponse
from tessera.pb.jobs_pb2 import JobRecord
from tessera.runtime import rpc, topology
from unit.coordinator.test_nats import SERVICE, Cluster, ended, submit
from unit.loop.simulator import load, spec_of, step_started, submitted, walk

pytestmark = pytest.mark.faults


class Process:
    """The coordinator as a process of its own, beside the cluster's workers."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        folder.mkdir(exist_ok=True)
        self.served = Served(folder, cluster.settings.nats_url)

    async def start(self) -> str:
        def begin() -> str:
            self.served.ready("coordinator").unlink(missing_ok=True)
            self.served.start("coordinator")
            return self.served.address("coordinator")

        return await asyncio.to_thread(begin)

    def alive(self) -> bool:
        return self.served.processes["coordinator"].poll() is None

    def kill(self) -> None:
        self.served.processes["coordinator"].kill()
        self.served.processes["coordinator"].wait()


async def undecodable_response(cluster: Cluster, run_id: str) -> None:
    """Append a started step whose results cannot be decoded."""
    walked = walk(spec_of(load("street_meal")))
    await cluster.events.append(run_id, submitted(spec_of(load("street_meal"), run_id=run_id)), 0)
    event = step_started(walked.started[0])
    await cluster.events.append(run_id, event, await _last(cluster, run_id))
    for key in event.step_started.job_keys:
        await cluster.events.job_done(run_id, JobRecord(job_key=key, method="Partition", response=b"\xff\xff"))


async def finished_with_it(cluster: Cluster, run_id: str) -> None:
    await undecodable_response(cluster, run_id)
    await cluster.events.append(
        run_id, pb.RunEvent(finished=pb.RunFinished(reason="spent")), await _last(cluster, run_id)
    )


async def no_picture(cluster: Cluster, run_id: str) -> None:
    """Every response decodes, but the counts of shards do not fit each other."""
    spec = spec_of(load("street_meal", budget__rounds=1), run_id=run_id)
    spec.shard_images = 4
    walked = walk(spec)
    odd = True
    for event in walked.events:
        if event.HasField("job_done"):
            record = event.job_done.record
            if record.method == "Evaluate" and (odd := not odd):
                record.response = EvaluateResponse(true_positives=[1]).SerializeToString()
            await cluster.events.job_done(run_id, record)
        else:
            event.ClearField("time")
            await cluster.events.append(run_id, event, await _last(cluster, run_id))


async def garbage_decision(cluster: Cluster, run_id: str) -> None:
    await cluster.events.append(run_id, submitted(spec_of(load("street_meal"), run_id=run_id)), 0)
    await cluster.connection.publish(topology.log_subject(run_id), b"\xff\xffnot an event")


async def _last(cluster: Cluster, run_id: str) -> int:
    return await cluster.connection.last_sequence(topology.EVENTS, topology.log_subject(run_id))


async def status(address: str, run_id: str) -> pb.RunView:
    response = await rpc.call(address, f"{SERVICE}/GetRun", pb.GetRunRequest(run_id=run_id), pb.GetRunResponse, 20)
    return response.run


@pytest.mark.parametrize(
    "damage",
    [
        undecodable_response,
        finished_with_it,
        pytest.param(no_picture, marks=pytest.mark.full),
        pytest.param(garbage_decision, marks=pytest.mark.full),
    ],
)
async def test_one_unreadable_run_fails_alone(tmp_path: Path, nats_url: str, damage) -> None:
    async with Cluster(nats_url, tmp_path / "store") as cluster:
        process = Process(tmp_path / "coordinator", cluster)
        address = await process.start()
        try:
            await damage(cluster, "bad")
            for start in ("at once", "after a restart"):
                good = spec_of(load("street_meal", budget__rounds=1), run_id=f"good-{start.split()[0]}")
                await submit(address, good)
                assert (await ended(address, good.run_id)).status == pb.RUN_STATUS_DONE
                async with asyncio.timeout(20):
                    while (bad := await status(address, "bad")).status == pb.RUN_STATUS_RUNNING:
                        await asyncio.sleep(0.1)
                if damage is not finished_with_it:
                    # Decisions before the damage stay.
                    assert bad.status == pb.RUN_STATUS_FAILED, start
                    assert bad.message
                    assert bad.spec.run_id == "bad"
                listed = await rpc.call(address, f"{SERVICE}/ListRuns", pb.ListRunsRequest(), pb.ListRunsResponse, 20)
                assert {"bad", good.run_id} <= {run.spec.run_id for run in listed.runs}
                assert process.alive()
                process.kill()
                address = await process.start()
        finally:
            process.kill()


async def test_a_run_with_a_damaged_decision_is_taken_up_again(tmp_path: Path, nats_url: str) -> None:
    async with Cluster(nats_url, tmp_path / "store") as cluster, cluster.coordinator() as address:
        spec = spec_of(load("street_meal", budget__rounds=1), run_id="bad")
        await cluster.events.append("bad", submitted(spec), 0)
        await cluster.connection.publish(topology.log_subject("bad"), b"\xff\xffnot an event")
        # A job's end that is none is left out: it says nothing about any job.
        await cluster.connection.publish(topology.result_subject("bad"), b"\xff\xffnot an event")
        failed = await ended(address, "bad")
        assert failed.status == pb.RUN_STATUS_FAILED
        assert "log is damaged" in failed.message
        await rpc.call(address, f"{SERVICE}/ResumeRun", pb.ResumeRunRequest(run_id="bad"), pb.ResumeRunResponse, 20)
        assert (await ended(address, "bad")).status == pb.RUN_STATUS_DONE


async def test_a_run_that_has_lost_its_start_says_so_and_starts_again(tmp_path: Path, nats_url: str) -> None:
    spec = spec_of(load("street_meal", budget__rounds=1), run_id="bad")
    async with Cluster(nats_url, tmp_path / "store") as cluster:
        await cluster.connection.publish(topology.log_subject("bad"), b"\xff\xffnot an event")
        process = Process(tmp_path / "coordinator", cluster)
        address = await process.start()
        try:
            bad = await status(address, "bad")
            assert (bad.status, bad.spec.run_id) == (pb.RUN_STATUS_FAILED, "bad")
            assert "tessera doctor --rebuild bad" in bad.message
            for method, request in (("CancelRun", pb.CancelRunRequest), ("ResumeRun", pb.ResumeRunRequest)):
                with pytest.raises(BadInput, match="start of its log"):
                    await rpc.call(address, f"{SERVICE}/{method}", request(run_id="bad"), pb.ResumeRunResponse, 20)
            # As doctor --rebuild does.
            await submit(address, spec)
            assert (await ended(address, "bad")).status == pb.RUN_STATUS_DONE
        finally:
            process.kill()


async def known(address: str, run_id: str) -> bool:
    listed = await rpc.call(address, f"{SERVICE}/ListRuns", pb.ListRunsRequest(), pb.ListRunsResponse, 20)
    return run_id in {run.spec.run_id for run in listed.runs}


async def test_a_run_that_is_given_up_is_known_no_more(tmp_path: Path, nats_url: str) -> None:
    spec = spec_of(load("street_meal", budget__rounds=1), run_id="over")
    async with Cluster(nats_url, tmp_path / "store") as cluster:
        process = Process(tmp_path / "coordinator", cluster)
        address = await process.start()
        try:
            await submit(address, spec)
            await ended(address, "over")
            last = await _last(cluster, "over")
            await cluster.events.append("over", pb.RunEvent(forgotten=pb.RunForgotten()), last)
            async with asyncio.timeout(20):
                while await known(address, "over"):
                    await asyncio.sleep(0.1)
            # A worker's last word does not bring it back, nor does a start before its log is deleted.
            await cluster.events.job_done("over", JobRecord(job_key="a" * 64, method="Score"))
            process.kill()
            address = await process.start()
            assert not await known(address, "over")
        finally:
            process.kill()
