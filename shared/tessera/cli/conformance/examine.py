"""Run every check that concerns a service, and tell how each ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

# Imported because they register checks, in the order in which these run.
from tessera.cli.conformance import grpc_checks, jetstream_checks, selector_checks  # noqa: F401  # isort: skip
from tessera.cli.conformance.bench import Bench
from tessera.cli.conformance.checks import ADVICE, CHECKS, FAILED, JETSTREAM, PASSED, SKIPPED, Check, Finding
from tessera.cli.conformance.outcomes import Broken, NotApplicable
from tessera.cli.conformance.samples import SampleRequest, methods_of, recipe_for, samples
from tessera.errors import BadInput, TesseraError, Unavailable
from tessera.runtime import catalogue, rpc
from tessera.runtime.messaging import connect
from tessera.runtime.objects import open_store
from tessera.runtime.records import Records
from tessera.runtime.redaction import one_line
from tessera.runtime.settings import Settings, load


@dataclass(frozen=True)
class Subject:
    """The service under test, its address, and the servers that it uses."""

    service: str
    target: str
    store: str
    nats: str | None = None
    token: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    """Algorithm versions by method, where they are not those of Tessera's own service."""
    settings: Sequence[tuple[str, Any]] = ()
    """Changes of the recipe whose requests are sent: another selection stage, say."""
    seconds: float = 60.0
    only: Collection[str] = ()
    """Names of the checks to run; empty: all."""


@dataclass(frozen=True)
class Report:
    """How every check ended."""

    service: str
    target: str
    versions: dict[str, str]
    findings: list[Finding]

    @property
    def kept(self) -> bool:
        """Return whether no rule is broken that must be kept."""
        return not any(one.state == FAILED for one in self.findings)

    def lines(self, as_json: bool = False) -> list[str]:
        """Return a line per check, two more where one is broken, and a last one that counts; or one JSON object."""
        counts = {
            state: sum(one.state == state for one in self.findings) for state in (PASSED, FAILED, ADVICE, SKIPPED)
        }
        if as_json:
            return [json.dumps({**asdict(self), **counts, "kept": self.kept}, sort_keys=True)]
        told = []
        for name, version in self.versions.items():
            told.append(f"{self.service}: {name}, algorithm {version}, at {self.target}")
            for one in (each for each in self.findings if each.method == name):
                told.append(f"  {one.state:<8} {one.check:<20} {one.rule if one.state != SKIPPED else one.found}")
                if one.state in (FAILED, ADVICE):
                    told += [f"{'':<11}found: {one_line(one.found)}", f"{'':<11}do:    {one.remedy}"]
        count = ", ".join(
            f"{number} {state}" for state, number in counts.items() if number or state in (PASSED, FAILED)
        )
        verdict = "keeps the contract" if self.kept else "does not keep the contract"
        return [*told, f"{self.service} at {self.target} {verdict}: {count}"]


async def examine(subject: Subject) -> Report:
    """Run the checks. Unavailable when the service does not answer; BadInput for an unknown service or version."""
    methods = methods_of(subject.service)
    unknown = set(subject.only) - {one.name for one in CHECKS}
    if unknown:
        raise BadInput(f"--only {sorted(unknown)[0]!r}: unknown; known: {', '.join(one.name for one in CHECKS)}")
    catalogue.check_replaced(subject.versions)
    versions = {method.name: catalogue.algorithm(method.name, subject.versions) for method in methods}
    seed = secrets.randbits(31)
    recipe = recipe_for(subject.service, subject.settings, seed)
    findings: list[Finding] = []
    async with _bench(subject, versions, f"{seed:08x}") as bench:
        if not await rpc.is_serving(subject.target) and not await _answers(bench, methods[0].path):
            raise Unavailable(f"{subject.service} at {subject.target}: nobody answers; start it, or check --target")
        for sample in await samples(subject.service, recipe, bench.store, seed):
            findings += [await _run(one, bench, sample) for one in _chosen(subject)]
    return Report(subject.service, subject.target, versions, findings)


def _chosen(subject: Subject) -> list[Check]:
    """Return the checks to run, in order."""
    named = [one for one in CHECKS if not subject.only or one.name in subject.only]
    return [one for one in named if one.service in ("", subject.service)]


async def _answers(bench: Bench, path: str) -> bool:
    """Return whether a server answers, if only with a refusal: one without the health service is examined, too."""
    return (await bench.channel.exchange(path, b"", 5.0)).code != "UNAVAILABLE"


@contextlib.asynccontextmanager
async def _bench(subject: Subject, versions: dict[str, str], nonce: str) -> AsyncIterator[Bench]:
    settings = load(store=subject.store)
    store = open_store(subject.store, settings)
    messaging = None
    if subject.nats:
        messaging = await connect(subject.nats, name="tessera conformance", token=subject.token)
    try:
        async with rpc.Channel(subject.target, _wide(settings)) as channel:
            bench = Bench(channel, store, versions, nonce, subject.seconds, messaging)
            bench.records = Records.of(messaging, store, settings) if messaging is not None else None
            await bench.open_queue()
            try:
                yield bench
            finally:
                with contextlib.suppress(TesseraError):
                    await bench.clean()
    finally:
        if messaging is not None:
            await messaging.close()


def _wide(settings: Settings) -> Settings:
    """Return settings of a client that may send requests that a server must refuse."""
    return settings.model_copy(update={"grpc_message_bytes": 64 << 20})


async def _run(one: Check, bench: Bench, sample: SampleRequest) -> Finding:
    state, found = FAILED, ""
    try:
        if one.door == JETSTREAM and bench.messaging is None:
            raise NotApplicable("give --nats to check this door")
        async with asyncio.timeout(4 * bench.seconds):
            state, found = PASSED, await one.function(bench, sample)
    except NotApplicable as error:
        state, found = SKIPPED, str(error)
    except Broken as error:
        state, found = FAILED if one.must else ADVICE, str(error)
    except TimeoutError:
        state, found = FAILED, f"no end within {4 * bench.seconds:g} s"
    except Unavailable as error:
        state, found = FAILED, str(error)
    return Finding(sample.method.name, one.name, state, one.rule, found, one.remedy)
