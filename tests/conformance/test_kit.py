"""The conformance kit passes what keeps the contract, and names the rule that any other implementation breaks."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import third_party
from integration.loop import tessera
from servers import NatsProcess, S3Process, running
from tessera.cli.conformance.checks import ADVICE, CHECKS, FAILED, PASSED, SKIPPED
from tessera.cli.conformance.examine import Report, Subject, examine
from tessera.runtime import messaging, topology
from tessera.runtime.settings import load

FAULTS = {
    "lost objects are bad input": ("missing-object", "missing-object-job"),
    "unverified": ("damaged-object", "damaged-object-job"),
    "unnamed object": ("missing-object-job",),
    "other bucket": ("other-bucket",),
    "over budget": ("choice",),
    "first shard only": ("shards",),
    "any stage": ("bad-value", "bad-value-job"),
    "not deterministic": ("repeat", "distrusted", "at-once"),
    "labelled again": ("choice",),
    "empty is fine": ("empty",),
    "budget is a wish": ("budget",),
    "the run counts": ("repeat",),
    "wrong hash": ("selection",),
    "lost output": ("answer",),
    "one at a time": ("at-once",),
    "unknown fields": ("unknown-fields",),
    "stuck after a cancellation": ("deadline",),
    "tracebacks": ("unreadable",),
    "doors differ": ("same-bytes",),
    "computed every time": ("once",),
    "unrecorded": ("record",),
    "deaf to distrust": ("distrusted",),
    "no requests from the store": ("request-in-store",),
    "all versions": ("other-version",),
    "other versions fail": ("other-version",),
    "no acknowledgement": ("job",),
    "no events": ("job",),
    "no dead letters": ("bad-value-job", "unreadable-job"),
    "dies of garbage": ("unreadable-job",),
}
STARTED = {"no health": ("health",), "small messages": ("large",)}
QUICK = ("unverified", "not deterministic", "labelled again", "doors differ", "computed every time", "all versions")
# What later checks need: an answer, and a job that was done.
NEEDED = ("answer", "job")


@dataclass
class Place:
    """Servers, the built example, and the file that says what is broken now."""

    nats: str
    settings: dict[str, str]
    folder: Path

    @property
    def fault(self) -> Path:
        return self.folder / "FAULT"

    def examine(self, address: str, only: tuple[str, ...] = (), seconds: float = 30.0) -> Report:
        store, versions = self.settings["TESSERA_STORE"], {"Select": third_party.VERSION}
        subject = Subject("selector", address, store, self.nats, None, versions, (), seconds, only)
        return asyncio.run(examine(subject))


def _states(report: Report) -> dict[str, str]:
    return {one.check: one.state for one in report.findings}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Process) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("conformance")
    built = third_party.build(folder)
    for name in ("broken.py", "jobs_door.py"):
        shutil.copy(Path(__file__).with_name(name), built)
    with running(NatsProcess(folder / "nats")) as server, pytest.MonkeyPatch.context() as patch:
        assert isinstance(server, NatsProcess)
        store = f"s3://{s3_server.bucket}/conformance"
        settings = {**s3_server.environment(), "TESSERA_STORE": store, "TESSERA_NATS_URL": server.url}
        made = Place(server.url, {**settings, "FAULT": str(built / "FAULT")}, built)
        made.fault.write_text("")
        for name, value in settings.items():
            patch.setenv(name, value)
        asyncio.run(_topology(server.url))
        yield made


async def _topology(url: str) -> None:
    connection = await messaging.connect(url, name="test")
    try:
        # A third party's worker gets a given-back message soon.
        await topology.ensure(connection, load(), ["select"])
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def broken(place: Place) -> Iterator[str]:
    """The address of a selector that breaks what the file says."""
    with third_party.running(place.folder, place.settings, "broken.py") as address:
        yield address
        place.fault.write_text("")


@pytest.mark.parametrize("examined", ["example", pytest.param("bridge", marks=pytest.mark.full)])
def test_the_example_keeps_the_contract(place: Place, examined: str) -> None:
    """By its own gRPC door, or the bridge's; its jobs come through the bridge."""
    versions = ("--algorithm", f"Select={third_party.VERSION}")
    with (
        third_party.running(place.folder, place.settings) as example,
        third_party.bridged(place.folder, place.settings, example, *versions) as bridge,
    ):
        report = place.examine({"example": example, "bridge": bridge}[examined])
    states = _states(report)
    assert {name: state for name, state in states.items() if state != PASSED} == {}, "\n".join(report.lines())
    assert set(states) == {one.name for one in CHECKS}
    assert report.kept


@pytest.mark.full
def test_a_jetstream_door_that_somebody_else_wrote_keeps_the_contract(place: Place, broken: str) -> None:
    report = place.examine(broken)
    # Rules that it may leave out, because it trusts the keys and runs that it is told.
    expected = {"cancelled-run": ADVICE, "wrong-key": ADVICE}
    assert {name: state for name, state in _states(report).items() if state != PASSED} == expected, report.lines()
    assert report.kept


def _caught(place: Place, address: str, fault: str, by: tuple[str, ...]) -> None:
    place.fault.write_text(fault)
    try:
        report = place.examine(address, (*NEEDED, *by), seconds=5.0)
    finally:
        place.fault.write_text("")
    states = _states(report)
    assert {name: states[name] for name in by} == dict.fromkeys(by, FAILED), report.lines()
    assert not report.kept


@pytest.mark.parametrize(
    "fault", [each if each in QUICK else pytest.param(each, marks=pytest.mark.full) for each in FAULTS]
)
def test_a_broken_rule_is_named(place: Place, broken: str, fault: str) -> None:
    _caught(place, broken, fault, FAULTS[fault])


@pytest.mark.full
@pytest.mark.parametrize("fault", STARTED)
def test_a_rule_that_is_broken_from_the_start_is_named(place: Place, fault: str) -> None:
    with third_party.running(place.folder, place.settings, "broken.py", fault) as address:
        _caught(place, address, "", STARTED[fault])


def test_every_rule_that_must_be_kept_has_a_toy_that_breaks_it() -> None:
    caught = {name for names in (*FAULTS.values(), *STARTED.values()) for name in names}
    assert {one.name for one in CHECKS if one.must} == caught


def test_a_report_says_what_was_found_and_what_to_do(place: Place, broken: str) -> None:
    place.fault.write_text("labelled again")
    try:
        arguments = (
            "selector",
            "--target",
            broken,
            "--algorithm",
            "Select=plain/1",
            "--only",
            "answer",
            "--only",
            "choice",
        )
        done = tessera("conformance", *arguments, **place.settings)
        as_json = tessera("conformance", *arguments, "--json", "--nats", "", **place.settings)
    finally:
        place.fault.write_text("")
    assert done.returncode == 1, done.stderr
    assert "found: 8 regions" in done.stdout or "are labelled already" in done.stdout
    assert "do:    take every region that is in a ledger out of the pool" in done.stdout
    assert done.stdout.splitlines()[-1] == f"selector at {broken} does not keep the contract: 1 passed, 1 failed"
    told = json.loads(as_json.stdout)
    assert (told["kept"], told["passed"], told["failed"]) == (False, 1, 1)


def test_without_nats_the_first_door_alone_is_checked(place: Place, broken: str) -> None:
    store = place.settings["TESSERA_STORE"]
    subject = Subject("selector", broken, store, None, None, {"Select": third_party.VERSION}, only=("answer", "job"))
    report = asyncio.run(examine(subject))
    assert _states(report) == {"answer": PASSED, "job": SKIPPED}
    assert report.kept


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("selector",), 2, "--target"),
        (("chooser", "--target", "127.0.0.1:9"), 2, "known: embedder"),
        (("selector", "--target", "127.0.0.1:9"), 3, "nobody answers"),
        (("selector", "--target", "127.0.0.1:9", "--only", "nothing"), 2, "known: health"),
        (("selector", "--target", "127.0.0.1:9", "--algorithm", "plain/1"), 2, "METHOD=VERSION"),
        (("selector", "--target", "127.0.0.1:9", "--algorithm", "Choose=1"), 2, "unknown method"),
    ],
)
def test_what_cannot_be_examined_is_said(tmp_path: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    done = tessera("conformance", *arguments, "--store", f"file://{tmp_path}/store")
    assert done.returncode == code, done.stdout + done.stderr
    assert text in done.stderr
