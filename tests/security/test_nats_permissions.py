"""What each service may say and hear at NATS (S13), with a real server and the configuration that Tessera generates."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError

from integration.loop import tessera
from servers import running
from tessera.errors import BadInput, Unavailable
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.runtime import catalogue, topology
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.permissions import ADMIN, COORDINATOR, DASHBOARD, configuration, table
from tessera.runtime.settings import load
from users import NatsWithUsers, login, password

SERVICES = {path.parent.name for path in (Path(__file__).parents[2] / "services").glob("*/__main__.py")}
VERBS = {service: set() for service in SERVICES} | {
    service: {method.verb for owner, method in catalogue.methods().values() if owner == service} for service in SERVICES
}
# What nobody but the administrator may do, and what some may, spelt as they are on the wire.
DANGEROUS = [
    *(f"$JS.API.STREAM.{what}.JOBS" for what in ("CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE")),
    *(f"$JS.API.STREAM.{what}.EVENTS" for what in ("CREATE", "UPDATE", "DELETE", "MSG.DELETE", "LEADER.STEPDOWN")),
    *(f"$JS.API.STREAM.{what}.KV_results" for what in ("CREATE", "DELETE", "PURGE", "MSG.DELETE")),
    *("$JS.API.CONSUMER.CREATE.JOBS", "$JS.API.CONSUMER.CREATE.JOBS.mine", "$JS.API.CONSUMER.CREATE.JOBS.mine.>"),
    *("$JS.API.CONSUMER.DURABLE.CREATE.JOBS.worker-train", "$JS.API.CONSUMER.DELETE.JOBS.worker-train"),
    *("$JS.API.CONSUMER.CREATE.KV_results", "$JS.API.DIRECT.GET.KV_results.$KV.results.a", "$JS.API.STREAM.LIST"),
    *("$SYS.REQ.SERVER.PING", "$SYS.ACCOUNT.$G.CONNECT", "_INBOX.abc", "tessera.secret", "other.team"),
    *(">", "*", "tessera.>", "tessera.*.*", "$KV.>", "$JS.>", "_INBOX.>", "_INBOX_scorer.>"),
]


def examples(pattern: str) -> list[str]:
    """Subjects that a pattern covers."""
    return (
        [pattern.replace("*", "x").replace(">", rest) for rest in ("x", "x.y")]
        if ">" in pattern
        else [pattern.replace("*", "x")]
    )


def covers(pattern: str, subject: str) -> bool:
    """Whether a pattern covers everything that a subject, which may be a pattern itself, stands for."""
    mine, theirs = pattern.split("."), subject.split(".")
    for place, part in enumerate(mine):
        if part == ">":
            return len(theirs) > place
        if place >= len(theirs) or theirs[place] == ">" or part not in ("*", theirs[place]):
            return False
    return len(mine) == len(theirs)


def subjects() -> list[str]:
    every = {
        one for user in table().values() for pattern in (*user.publish, *user.subscribe) for one in examples(pattern)
    }
    queues = {topology.job_subject(verb) for verbs in VERBS.values() for verb in verbs}
    return sorted(every | queues | set(DANGEROUS))


def spoken(port: int, user: str, lines: list[str]) -> str:
    """What the server says to these lines of its protocol, up to its answer to a ping."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        options = json.dumps({"user": user, "pass": password(user), "verbose": False, "pedantic": False})
        connection.sendall(f"CONNECT {options}\r\n{''.join(lines)}PING\r\n".encode())
        heard = b""
        while not heard.rstrip().endswith(b"PONG"):
            got = connection.recv(65536)
            assert got, heard[-500:]
            heard += got
        return heard.decode()


def test_the_table_names_every_service_that_there_is() -> None:
    assert set(table()) == SERVICES | {ADMIN}


def test_every_service_may_do_exactly_what_the_table_says(tmp_path: Path) -> None:
    """Each user tries to publish and to subscribe every subject that anybody may, and those that nobody should."""
    tried, granted = 0, 0
    # Without JetStream, so that what is allowed does nothing.
    with running(NatsWithUsers(tmp_path, jetstream=False)) as server:
        for user, allowed in table().items():
            concrete = [each for each in subjects() if not set(each.split(".")) & {"*", ">"}]
            heard = spoken(server.port, user, [f"PUB {subject} 0\r\n\r\n" for subject in concrete])
            refused = set(re.findall(r'Permissions Violation for Publish to "([^"]+)"', heard))
            expected = {each for each in concrete if not any(covers(one, each) for one in allowed.publish)}
            assert refused == expected, f"{user} publishes: {refused ^ expected}"
            tried, granted = tried + len(concrete), granted + len(concrete) - len(refused)
            lines = [f"SUB {subject} {number}\r\n" for number, subject in enumerate(subjects())]
            refused = set(
                re.findall(r'Permissions Violation for Subscription to "([^"]+)"', spoken(server.port, user, lines))
            )
            expected = {each for each in subjects() if not any(covers(one, each) for one in allowed.subscribe)}
            assert refused == expected, f"{user} subscribes: {refused ^ expected}"
            tried, granted = tried + len(subjects()), granted + len(subjects()) - len(refused)
    print(f"S13: {tried} cells of {len(table())} users, {granted} allowed, {tried - granted} refused")
    assert tried > 1500


def test_what_a_worker_must_never_be_able_to_do() -> None:
    """Written out by hand: the matrix only shows that the server does what the table says."""
    for service in SERVICES - {COORDINATOR, DASHBOARD}:
        allowed = table()[service]
        others = {verb for owner, verbs in VERBS.items() if owner != service for verb in verbs}
        forbidden = [topology.job_subject(verb) for verb in others]
        forbidden += ["tessera.event.run-1.log", "$JS.API.STREAM.MSG.GET.JOBS", "$JS.API.STREAM.MSG.DELETE.JOBS"]
        forbidden += [
            "$JS.API.STREAM.MSG.GET.EVENTS",
            "$KV.cancelled.run-1",
            "$JS.API.CONSUMER.CREATE.EVENTS",
            *DANGEROUS,
        ]
        forbidden += [f"$JS.API.CONSUMER.MSG.NEXT.JOBS.{topology.consumer_name(verb)}" for verb in others]
        for subject in forbidden:
            assert not any(covers(one, subject) for one in allowed.publish), f"{service}: {subject}"
        assert allowed.subscribe == (f"_INBOX_{service}.>",)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsWithUsers]:
    with running(NatsWithUsers(tmp_path / "nats")) as made:
        assert isinstance(made, NatsWithUsers)
        yield made


async def connected(server: NatsWithUsers, user: str) -> Messaging:
    return await connect(server.url, name=user, settings=load(**login(user)))


async def queued(admin: Messaging, verb: str) -> list[bytes]:
    found = await admin.sequences(topology.JOBS, topology.job_subject(verb), None, at_most=100)
    return [message[1] for place in found if (message := await admin.get(topology.JOBS, place)) is not None]


async def test_a_worker_cannot_bring_a_job_into_another_queue_by_the_servers_hand(server: NatsWithUsers) -> None:
    """The server sends answers wherever the asker says, and there the asker's rights are not looked at.

    A job that a compromised scorer wrote must not come to the evaluator, which may read test labels.
    """
    admin = await connected(server, ADMIN)
    scorer = await connected(server, "scorer")
    try:
        await topology.ensure(admin, load(), [verb for verbs in VERBS.values() for verb in verbs])
        forged = JobEnvelope(job_key="a" * 64, method="Evaluate", request=b"forged").SerializeToString()
        await scorer.kv_put(topology.RESULTS, "evil", forged)
        await scorer.publish(topology.job_subject("score"), forged)
        asked = {
            "$JS.API.STREAM.MSG.GET.KV_results": json.dumps({"last_by_subj": "$KV.results.evil"}).encode(),
            "$JS.API.DIRECT.GET.KV_results.$KV.results.evil": b"",
            "$JS.API.STREAM.INFO.JOBS": b"",
            "$JS.API.CONSUMER.INFO.JOBS.worker-score": b"",
            "$JS.API.CONSUMER.MSG.NEXT.JOBS.worker-score": b'{"batch":1,"expires":500000000}',
            "$KV.results.other": forged,
            "tessera.job.score": forged,
        }
        for subject, data in asked.items():
            await scorer._client.publish(subject, data, reply=topology.job_subject("evaluate"))
        await scorer._client.flush(30)
        # Past the request's end, and until what the server sends has been stored.
        await asyncio.sleep(1.0)
        for data in await queued(admin, "evaluate"):
            # Noise that no worker takes for a job, and that tells where it came from.
            with pytest.raises(DecodeError):
                JobEnvelope.FromString(data)
            assert forged not in data
        assert len(await queued(admin, "score")) == 2
    finally:
        await scorer.close()
        await admin.close()


async def test_a_service_makes_nothing_and_says_who_does(server: NatsWithUsers) -> None:
    scorer = await connected(server, "scorer")
    try:
        with pytest.raises(Unavailable, match=r"stream JOBS is missing; .*Make it with tessera topology"):
            await topology.ensure(scorer, load(), ["score"], create=False)
    finally:
        await scorer.close()
    done = tessera("topology", TESSERA_NATS_URL=server.url, **_variables(ADMIN))
    assert done.returncode == 0, done.stderr
    scorer = await connected(server, "scorer")
    try:
        await topology.ensure(scorer, load(), ["score"], create=False)
    finally:
        await scorer.close()


def _variables(user: str) -> dict[str, str]:
    return {f"TESSERA_{name.upper()}": str(value) for name, value in login(user).items()}


async def test_an_account_of_its_own_keeps_others_out(tmp_path: Path) -> None:
    with running(NatsWithUsers(tmp_path / "nats", account="tessera")) as server:
        assert isinstance(server, NatsWithUsers)
        admin = await connected(server, ADMIN)
        try:
            await topology.ensure(admin, load(), ["score"])
            assert await topology.faults(admin, load(), ["score"]) == []
        finally:
            await admin.close()
        with pytest.raises(Unavailable, match="TESSERA_NATS_USER"):
            await connect(server.url, name="stranger", settings=load(), first_seconds=2)


def test_the_command_prints_the_configuration_without_passwords() -> None:
    done = tessera("nats-permissions", "--account", "tessera")
    assert done.returncode == 0, done.stderr
    assert done.stdout == configuration("tessera")
    passwords = re.findall(r"password: (\S+),", done.stdout)
    assert passwords == [f"$NATS_PASSWORD_{user.upper()}" for user in table()]
    with pytest.raises(BadInput, match="account"):
        configuration('x" }')
