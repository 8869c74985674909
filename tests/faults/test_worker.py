"""Workers that crash, hang, leave and are poisoned: nothing is lost, nothing loops."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from tessera.runtime import rpc
from tessera.runtime.attempts import Attempts
from tessera.runtime.dead_letters import DeadLetters
from toy.harness import PATIENCE, Bed, bed, envelope, eventually, request

pytestmark = pytest.mark.faults


async def test_a_job_far_longer_than_the_ack_wait_runs_once(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url, ack_wait=1.5, heartbeat=0.3) as made:
        await made.start()
        await made.start()
        # The child takes a whole core; the parent still beats.
        await made.submit(request(1, "spin:4"))
        (event,) = await made.ends(1)
        assert event.job_done.record.attempt == 1
        assert made.runs(1) == 1


async def test_a_killed_worker_loses_no_job(tmp_path: Path, nats_url: str) -> None:
    # Long enough that no busy machine delays a heartbeat past it: only the kill may make a job run twice.
    async with bed(tmp_path, nats_url, ack_wait=6.0, heartbeat=0.3) as made:
        first = await made.start()
        await made.submit(*(request(seed, "sleep:0.1", "noise") for seed in range(10)))
        await eventually(lambda: made.runs(3))
        first.kill()
        await made.start()
        events = await made.ends(10)
        await made.idle()
        assert {event.WhichOneof("kind") for event in events} == {"job_done"}
        assert len({event.job_done.record.job_key for event in events}) == 10
        # Again only what it had in hand: a job that computed, and the one before it, whose result was being committed.
        assert sum(made.runs(seed) for seed in range(10)) <= 12


async def test_a_crash_of_the_child_is_tried_twice_and_kept_with_its_reason(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        service = await made.start()
        (key,) = await made.submit(request(1, "segv"))
        await made.submit(request(2))
        events = await made.ends(2)
        await made.idle()
        failure = next(event.job_failed.failure for event in events if event.HasField("job_failed"))
        assert (failure.reason, failure.attempts, failure.exit_code) == ("crashed", 2, 3)
        assert any(event.HasField("job_done") for event in events)  # the worker goes on with other jobs
        (letter,) = await DeadLetters(made.messaging).list()
        assert letter.failure.job_key == key
        assert letter.failure.envelope.request == envelope(request(1, "segv")).request
        assert service.process is not None
        assert service.process.poll() is None


async def test_a_failed_job_is_queued_again_on_request(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        await made.start()
        (key,) = await made.submit(request(1, "bad:no"))
        await made.ends(1)
        await made.idle()
        letters = DeadLetters(made.messaging)
        assert [letter.failure.job_key for letter in await letters.requeue(key)] == [key]
        events = await made.ends(2)  # failed again, and told again, within the duplicate window
        assert [event.job_failed.failure.attempts for event in events] == [1, 1]
        assert len(await letters.list()) == 1
        assert len(await letters.requeue()) == 1
        await made.ends(3)


async def test_a_job_that_kills_its_worker_is_given_up(tmp_path: Path, nats_url: str) -> None:
    """No worker lives to count: our own counter ends it, not the server's."""
    async with bed(tmp_path, nats_url, ack_wait=0.5, heartbeat=0.2, max_attempts=2) as made:
        await made.submit(request(1, "kill_parent"))
        for _ in range(2):
            assert await asyncio.to_thread((await made.start()).wait) == -9
        await made.start()
        (event,) = await made.ends(1)
        await made.idle()
        assert event.job_failed.failure.reason == "crashed"
        assert event.job_failed.failure.attempts == 2
        assert len(await DeadLetters(made.messaging).list()) == 1


async def test_a_message_the_server_gave_up_on_moves_to_the_dead_letters(tmp_path: Path, nats_url: str) -> None:
    """It stays in the stream where no lag metric shows it; the advisory names it, and its attempts are used up."""
    async with bed(tmp_path, nats_url, ack_wait=0.3, heartbeat=0.1, max_attempts=1) as made:
        (key,) = await made.submit(request(1))
        pull = await made.messaging.bind("JOBS", "worker-score")
        for _ in range(2):  # max_deliver = 2: begun and never settled
            delivery = await pull.fetch(2)
            assert delivery is not None
            await Attempts(made.messaging).begin(key, delivery.sequence)
        await asyncio.sleep(0.5)
        assert await pull.fetch(0.5) is None
        await pull.close()
        info = await made.messaging._js.consumer_info("JOBS", "worker-score")
        assert (info.num_pending, info.num_ack_pending) == (0, 0)
        assert (await made.messaging._js.stream_info("JOBS")).state.messages == 1
        await made.start()
        (event,) = await made.ends(1)
        await made.idle()
        assert event.job_failed.failure.attempts == 2
        (letter,) = await DeadLetters(made.messaging).list()
        assert letter.failure.envelope.job_key == envelope(request(1)).job_key


async def test_sigterm_lets_the_job_end_and_takes_no_other(tmp_path: Path, nats_url: str) -> None:
    """The next worker gets the other at once, long before the ack wait."""
    async with bed(tmp_path, nats_url, ack_wait=2 * PATIENCE) as made:
        service = await made.start()
        await made.submit(request(1, "sleep:1.5"))
        await eventually(lambda: made.runs(1))
        await made.submit(request(2))
        address = service.address
        service.signal(signal.SIGTERM)
        await eventually(lambda: _not_serving(address))
        assert await asyncio.to_thread(service.wait) == 0
        events = await made.ends(1)
        assert [event.job_done.record.job_key for event in events] == [envelope(request(1, "sleep:1.5")).job_key]
        assert made.runs(2) == 0
        await made.start()
        await made.ends(2)
        assert made.runs(1) == 1


@pytest.mark.full
async def test_as_many_jobs_again_are_in_hand_as_compute_and_leaving_gives_them_back(
    tmp_path: Path, nats_url: str
) -> None:
    async with bed(tmp_path, nats_url, children=2, cores=2, ack_wait=1.0, heartbeat=0.3) as made:
        service = await made.start()
        jobs = [request(seed, "sleep:2.5") for seed in range(7)]
        await made.submit(*jobs)

        async def in_hand() -> int:
            return int((await made.messaging._js.consumer_info("JOBS", "worker-score")).num_ack_pending or 0)

        async def four() -> bool:
            return await in_hand() == 4 and _began(made) == 2

        await eventually(four)
        await asyncio.sleep(1.3)  # longer than the ack wait: those that wait are kept alive too
        assert (await in_hand(), _began(made)) == (4, 2)
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.wait) == 0
        assert [event.WhichOneof("kind") for event in await made.ends(2)] == ["job_done"] * 2
        assert _began(made) == 2
        await made.start()
        events = await made.ends(7)
        await made.idle()
        # Each computed once, and having waited in a process that left is no attempt.
        assert sorted(event.job_done.record.job_key for event in events) == sorted(
            envelope(job).job_key for job in jobs
        )
        assert {event.job_done.record.attempt for event in events} == {1}
        assert _began(made) == 7


def _began(made: Bed) -> int:
    return sum(made.runs(seed) for seed in range(7))


async def _not_serving(address: str) -> bool:
    return not await rpc.is_serving(address, timeout=1)


async def test_sigterm_beyond_the_grace_gives_the_job_back_at_once(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url, drain_seconds=0.3, ack_wait=2 * PATIENCE, heartbeat=5.0) as made:
        service = await made.start()
        job = request(1, "sleep:19")
        await made.submit(job)
        await eventually(lambda: made.runs(1))
        assert service.process is not None
        children = psutil.Process(service.process.pid).children(recursive=True)
        service.signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.wait, 15) == 0
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        await made.start()
        await eventually(lambda: made.runs(1) == 2)  # before the ack wait is over


@pytest.mark.full
async def test_workers_that_leave_again_and_again_do_not_use_up_a_job(tmp_path: Path, nats_url: str) -> None:
    """The server counts their deliveries too, and would give the job up as if it had killed its workers."""
    async with bed(tmp_path, nats_url, drain_seconds=0.2, max_attempts=1) as made:
        await made.submit(request(1, "sleep:2.5"))
        for left in range(1, 4):  # max_deliver is 2
            service = await made.start()
            await eventually(lambda count=left: made.runs(1) == count)  # type: ignore[misc]
            service.signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.wait) == 0
        await made.start()
        (event,) = await made.ends(1)
        await made.idle()
        assert event.HasField("job_done"), event
        assert await DeadLetters(made.messaging).list() == []


async def test_jobs_of_a_cancelled_run_are_dropped(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        await made.start()
        await made.submit(request(1, "sleep:15"), run_id="gone")
        await eventually(lambda: made.runs(1))
        await made.submit(request(2), run_id="gone")
        await made.events.cancel("gone", "no longer wanted")
        await made.idle()  # also the job that was running
        assert made.runs(2) == 0
        assert await made.events.read("gone") == []
        await made.events.uncancel("gone")
        await made.events.dispatch(envelope(request(2), "gone"), nonce="resumed")
        (event,) = await made.ends(1, run_id="gone")
        assert event.HasField("job_done")


async def test_a_service_ends_with_the_process_that_started_it(tmp_path: Path, nats_url: str) -> None:
    async with bed(tmp_path, nats_url) as made:
        ours, theirs = os.pipe()
        os.set_inheritable(ours, True)
        made.environment["TESSERA_LIFELINE_FD"] = str(ours)
        import subprocess

        real = subprocess.Popen

        def popen(*arguments: object, **options: object) -> object:
            return real(*arguments, **options, pass_fds=(ours,))  # type: ignore[call-overload]

        subprocess.Popen = popen  # type: ignore[assignment,misc]
        try:
            service = made.service()
        finally:
            subprocess.Popen = real  # type: ignore[misc]
        os.close(ours)
        os.close(theirs)
        assert await asyncio.to_thread(service.wait, 5) == 0
