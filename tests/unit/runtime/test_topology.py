"""Streams, consumers and buckets of NATS: created once, checked at each start, drift named with both values."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.errors import BadInput, Unavailable
from tessera.runtime import topology
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.settings import Settings, load

VERBS = ("score", "train")


@pytest.fixture
def settings() -> Settings:
    return load()


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[Messaging]:
    connection = await connect(nats_url, name="topology")
    yield connection
    await connection.close()


async def _edit_stream(nats: Messaging, name: str, **changes: Any) -> None:
    config = (await nats._js.stream_info(name)).config
    await nats._js.update_stream(config.evolve(**changes))


async def _edit_consumer(nats: Messaging, name: str, **changes: Any) -> None:
    config = (await nats._js.consumer_info("JOBS", name)).config
    await nats._js.add_consumer("JOBS", config.evolve(**changes))


async def test_ensure_is_idempotent_and_concurrent_starts_agree(nats: Messaging, settings: Settings) -> None:
    await asyncio.gather(*(topology.ensure(nats, settings, VERBS) for _ in range(4)))
    await topology.ensure(nats, settings, VERBS)
    jobs = (await nats._js.stream_info("JOBS")).config
    assert jobs.retention == "workqueue"
    assert jobs.discard == "new"
    assert (jobs.max_msgs, jobs.max_msg_size, jobs.max_age, jobs.duplicate_window) == (100_000, 65536, 604800, 600)
    events = (await nats._js.stream_info("EVENTS")).config
    assert (events.retention, events.max_age or 0) == ("limits", 0)
    assert (await nats._js.stream_info("DLQ")).config.max_age == 30 * 86400
    assert (await nats._js.stream_info("ADVISORIES")).config.max_age == 7 * 86400
    worker = (await nats._js.consumer_info("JOBS", "worker-score")).config
    assert (worker.ack_wait, worker.max_deliver, worker.filter_subject) == (30, 6, "tessera.job.score")


@pytest.mark.parametrize(
    ("kind", "name", "change", "named"),
    [
        ("stream", "JOBS", {"max_msgs": 7}, "stream JOBS: max_msgs is 7, expected 100000"),
        ("stream", "JOBS", {"max_age": 700.0}, "stream JOBS: max_age is 700.0, expected 604800.0"),
        ("stream", "EVENTS", {"max_age": 700.0}, "stream EVENTS: max_age is 700.0, expected 0.0"),
        (
            "stream",
            "EVENTS",
            {"subjects": ["x.>"]},
            "stream EVENTS: subjects is ['x.>'], expected ('tessera.event.>',)",
        ),
        (
            "consumer",
            "worker-score",
            {"ack_wait": 1.0},
            "consumer worker-score of JOBS: ack_wait is 1.0, expected 30.0",
        ),
        ("consumer", "worker-train", {"max_deliver": -1}, "max_deliver is -1, expected 6"),
        ("stream", "KV_attempts", {"max_age": 130.0}, "bucket attempts: max_age is 130.0, expected 604800.0"),
    ],
)
async def test_drift_is_an_error_that_names_field_and_values(
    nats: Messaging, settings: Settings, kind: str, name: str, change: dict[str, Any], named: str
) -> None:
    await topology.ensure(nats, settings, VERBS)
    await (_edit_stream if kind == "stream" else _edit_consumer)(nats, name, **change)
    with pytest.raises(BadInput, match=re.escape(named.replace("('tessera.event.>',)", "['tessera.event.>']"))):
        await topology.ensure(nats, settings, VERBS)


async def test_a_first_quota_is_given_and_another_one_is_an_error(nats: Messaging, settings: Settings) -> None:
    await topology.ensure(nats, settings, VERBS)
    quotas = settings.model_copy(update={"events_bytes": 1 << 20, "dlq_bytes": 1 << 19, "jobs_bytes": 1 << 18})
    assert "stream EVENTS: max_bytes is -1, expected 1048576" in "; ".join(await topology.faults(nats, quotas, VERBS))
    await topology.ensure(nats, quotas, VERBS)
    found = {name: (await nats._js.stream_info(name)).config for name in ("EVENTS", "DLQ", "JOBS")}
    assert {name: one.max_bytes for name, one in found.items()} == {"EVENTS": 1 << 20, "DLQ": 1 << 19, "JOBS": 1 << 18}
    # A full log refuses: no run loses an event. Of the dead letters the oldest go.
    assert {name: one.discard for name, one in found.items()} == {"EVENTS": "new", "DLQ": "old", "JOBS": "new"}
    with pytest.raises(BadInput, match="stream EVENTS: max_bytes is 1048576, expected 2097152"):
        await topology.ensure(nats, quotas.model_copy(update={"events_bytes": 1 << 21}), VERBS)
    # Whoever wants none takes an operator's, but not another way to be full.
    await _edit_stream(nats, "EVENTS", discard="old")
    await topology.ensure(nats, settings, VERBS)


async def test_a_log_beyond_its_quota_refuses_and_keeps_every_event(nats: Messaging, settings: Settings) -> None:
    await topology.ensure(nats, settings.model_copy(update={"events_bytes": 4096}), VERBS)
    subject = topology.result_subject("run")
    for _ in range(3):
        await nats.publish(subject, b"x" * 1000)
    with pytest.raises(Unavailable, match="full"):
        await nats.publish(subject, b"x" * 2000, patience=1.0)
    assert len(await nats.read("EVENTS", subject)) == 3


async def test_a_stream_of_another_retention_is_an_error(nats: Messaging, settings: Settings) -> None:
    await nats._js.add_stream(name="JOBS", subjects=["tessera.job.>"])
    with pytest.raises(BadInput, match=r"retention is 'limits', expected 'workqueue'"):
        await topology.ensure(nats, settings, VERBS)


async def test_a_server_without_jetstream_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    from servers import NatsProcess, running

    class Plain(NatsProcess):
        def arguments(self) -> list[str]:
            return ["-a", "127.0.0.1", "-p", str(self.port)]

    with running(Plain(tmp_path_factory.mktemp("plain"))) as server:
        connection = await connect(server.url, name="x")  # type: ignore[attr-defined]
        with pytest.raises(Unavailable, match="JetStream"):
            await topology.ensure(connection, load(), VERBS)
        with pytest.raises(Unavailable, match="start nats-server with -js"):
            await connection.check()
        await connection.close()


@given(st.text(min_size=1, max_size=40))
def test_any_name_is_one_token_and_comes_back(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    spelled = topology.token(name)
    assert re.fullmatch(r"[A-Za-z0-9_=-]+", spelled)
    assert topology.untoken(spelled) == name


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_two_names_are_two_tokens(one: str, other: str) -> None:
    try:
        assert (topology.token(one) == topology.token(other)) == (one == other)
    except UnicodeEncodeError:
        return


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(BadInput, match="empty"):
        topology.token("")


def test_replicas_reach_every_stream_and_bucket() -> None:
    settings = load(nats_replicas=3)
    assert {spec.replicas for spec in (*topology.streams(settings), *topology.buckets(settings))} == {3}


async def test_a_log_that_an_earlier_version_let_grow_old_is_brought_up_to_date(
    nats: Messaging, settings: Settings
) -> None:
    """EVENTS once lost what was 90 days old, the beginning of an unfinished run too."""
    await topology.ensure(nats, settings, VERBS)
    await nats.publish("tessera.event.run-1.log", b"kept")
    await _edit_stream(nats, "EVENTS", max_age=90 * 86400.0)
    await asyncio.gather(*(topology.ensure(nats, settings, VERBS) for _ in range(3)))
    assert not (await nats._js.stream_info("EVENTS")).config.max_age
    assert [one.data for one in await nats.read("EVENTS", "tessera.event.*.log")] == [b"kept"]
    # Together with a change that nobody of ours made, it is named as it is.
    await _edit_stream(nats, "EVENTS", max_age=90 * 86400.0, max_msgs=5)
    with pytest.raises(BadInput, match=r"EVENTS: max_age is 7776000\.0, expected 0"):
        await topology.ensure(nats, settings, VERBS)
