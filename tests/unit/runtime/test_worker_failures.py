"""A failed job: its record first, its message deleted last, so that a crash in between loses nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tessera.errors import BadInput, Unavailable
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.runtime.activity import Activity
from tessera.runtime.settings import load
from tessera.runtime.worker import StopSignals, Worker
from toy.handler import METHODS


class Recorder:
    """Stands for the dead letters, the run's events and the delivery; notes who was called, and fails where told."""

    sequence, delivered, data = 7, 1, JobEnvelope(run_id="r", method="Other").SerializeToString()

    def __init__(self, fails: str = "") -> None:
        self.calls: list[str] = []
        self.fails = fails
        self.activity, self.headers = Activity(), dict[str, str]()

    def __getattr__(self, name: str) -> Any:
        async def called(*_: object, **__: object) -> None:
            self.calls.append(name)
            if name == self.fails:
                raise Unavailable(f"{name}: NATS does not answer")

        return called


def _worker(recorder: Recorder) -> Worker:
    made = Worker(METHODS[0], recorder, recorder, load(), StopSignals(asyncio.Event(), asyncio.Event()))  # type: ignore[arg-type]
    made._letters = made._events = recorder  # type: ignore[assignment]
    return made


async def test_the_message_is_deleted_after_the_failure_is_stored_and_told() -> None:
    recorder = Recorder()
    await _worker(recorder)._fail(recorder, JobEnvelope(job_key="k", run_id="r"), BadInput("no"), 1)  # type: ignore[arg-type]
    assert recorder.calls == ["add", "job_failed", "term"]


@pytest.mark.parametrize("fails", ["add", "job_failed"])
async def test_a_failure_that_cannot_be_stored_or_told_leaves_the_message_where_it_is(fails: str) -> None:
    recorder = Recorder(fails)
    with pytest.raises(Unavailable):
        await _worker(recorder)._fail(recorder, JobEnvelope(job_key="k", run_id="r"), BadInput("no"), 1)  # type: ignore[arg-type]
    assert "term" not in recorder.calls
    # Nor does it end the worker: the message is delivered again.
    again = Recorder(fails)
    await _worker(again)._settle(again)  # type: ignore[arg-type]
    assert "term" not in again.calls


async def test_the_last_delivery_is_queued_anew_and_earlier_ones_are_given_back() -> None:
    recorder = Recorder()
    worker = _worker(recorder)
    await worker._give_back(recorder, JobEnvelope(job_key="k"), 0)  # type: ignore[arg-type]
    recorder.delivered = load().max_attempts + 1  # what the topology makes the server's limit
    await worker._give_back(recorder, JobEnvelope(job_key="k"), 0)  # type: ignore[arg-type]
    assert recorder.calls == ["nak", "dispatch", "term"]
