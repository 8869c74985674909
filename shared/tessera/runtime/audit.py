"""Check that a run agrees with its log, its records and its objects, for tests and operators alike.

I1  every submitted job has one result, or one failure; never two different results
I2  every object that a result names, directly or in its tables, is in the store with its size and hash
I3  the state is the fold of the log, however it is read, and what the coordinator shows is that state
I4  no event names a record that the store and the bucket of results do not hold
I5  no job of a run that has ended is left in the queue
I6  no region was labelled twice, and no round took more than its budget allowed
I7  the digest of the results is that of an undisturbed run, where one is given
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tessera.errors import BadInput, CorruptObject
from tessera.formats import schemas, tables
from tessera.loop import people
from tessera.loop.facts import Facts
from tessera.loop.reducer import CANCELLED, DONE, FAILED, RunState, apply, fold
from tessera.loop.requests import recipe_of
from tessera.loop.responses import digest as name_of
from tessera.loop.responses import references, response_of
from tessera.loop.view import view as picture
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.jobs_pb2 import JobRecord
from tessera.pb.oracle_pb2 import AnswerResponse
from tessera.pb.partitioner_pb2 import PartitionResponse
from tessera.pb.runs_pb2 import RunEvent, RunStatus, RunView
from tessera.runtime import inputs
from tessera.runtime.events import EventLog
from tessera.runtime.objects import ObjectStore
from tessera.runtime.records import Records
from tessera.units import UNITS

_TOGETHER: Final = 8
_ENDED: Final = (DONE, FAILED, CANCELLED)
_PRICES: Final = {"clicks": "clicks", "seconds": "seconds", "pixels": "pixels"}
"""Units whose budget may be overshot by one answer, and the ledger's column of its price."""


@dataclass(frozen=True)
class Violation:
    """One violation of an invariant."""

    invariant: str
    text: str


@dataclass
class Audit:
    """Counts of what was checked, and the violations found."""

    run_id: str
    status: str = ""
    jobs: int = 0
    objects: int = 0
    digest: str = ""
    violations: list[Violation] = field(default_factory=list)

    def found(self, invariant: str, text: str) -> None:
        """Add a violation."""
        self.violations.append(Violation(invariant, text))


async def audit(
    run_id: str,
    log: EventLog,
    records: Records,
    store: ObjectStore,
    *,
    shown: RunView | None = None,
    same_as: str = "",
    settle_seconds: float = 15.0,
) -> Audit:
    """Check I1 to I7 of one run; reads every object once.

    ``shown`` is the coordinator's picture, ``same_as`` the digest of an undisturbed run. A running run is audited up to
    its last event: unfinished jobs are no violation. BadInput when the log has no such run.
    """
    events = await log.read(run_id)
    if not events:
        raise BadInput(f"run {run_id!r}: has no events; tessera status lists the runs")
    state = fold(RunState(), (event for _, event in events))
    made = picture(state)
    result = Audit(run_id, _status(state), len(state.places))
    winners = _ends(result, state, events)
    _replay(result, state, events, shown)
    await _stored(result, records, store, winners.values())
    await _queue(result, log, state, settle_seconds)
    await _labels(result, store, state)
    result.digest = digest(made)
    if same_as and result.digest != same_as:
        result.found("I7", f"the digest is {result.digest}, that of the undisturbed run is {same_as}")
    return result


def digest(made: RunView) -> str:
    """Return the SHA-256 of a run's selections, answers and measures: equal for equal runs, whatever failed."""
    rounds = [
        {
            "round": one.round,
            "selection": one.selection_sha256,
            "cost": [one.cost.regions, one.cost.images, one.cost.pixels, one.cost.clicks, one.cost.labelling_seconds],
            "splits": [[split.split, split.images, *map(list, _counts(split))] for split in one.splits],
        }
        for one in made.rounds
    ]
    return hashlib.sha256(json.dumps(rounds, sort_keys=True).encode()).hexdigest()


def _counts(split: Any) -> Iterable[Iterable[int]]:
    return split.true_positives, split.false_positives, split.false_negatives


def _status(state: RunState) -> str:
    return RunStatus.Name(state.status).removeprefix("RUN_STATUS_").lower()


def _ends(result: Audit, state: RunState, events: Iterable[tuple[int, RunEvent]]) -> dict[str, JobRecord]:
    """Check I1; return the record behind every result that the state holds."""
    told = _told(result, events)
    winners: dict[str, JobRecord] = {}
    for key, places in state.places.items():
        for place in places:
            kept = state.steps[place].records.get(key)
            where = f"job {key} (round {place[0]}, {place[1]})"
            if kept is None:
                if state.status == DONE:
                    result.found("I1", f"{where}: the run is done without its result")
            elif key in state.failures:
                result.found("I1", f"{where}: has a result and a failure")
            elif key not in told or name_of(told[key]) != kept.digest.hex():
                result.found("I1", f"{where}: the log has no event of its result")
            else:
                winners[key] = told[key]
    return winners


def _told(result: Audit, events: Iterable[tuple[int, RunEvent]]) -> dict[str, JobRecord]:
    """Return the result that workers published for each job; for a job done again, the later one."""
    told: dict[str, JobRecord] = {}
    for sequence, event in events:
        for key in event.redone.job_keys:
            told.pop(key, None)
        record = event.job_done.record
        if not event.HasField("job_done") or response_of(record.method, record.response) is None:
            continue
        before = told.setdefault(record.job_key, record)
        if name_of(before) != name_of(record):
            result.found("I1", f"job {record.job_key}: event {sequence} gives it a second, different result")
    return told


def _replay(result: Audit, state: RunState, events: list[tuple[int, RunEvent]], shown: RunView | None) -> None:
    """Check I3: the state is the fold of the log."""
    single = RunState()
    for _, event in events:
        single = apply(single, event)
    if single != state:
        result.found("I3", "folding the log event by event gives another state than folding it at once")
    twice = fold(RunState(), (event for _, each in events for event in (each, each)))
    if not any(event.WhichOneof("kind") in ("redone", "resumed") for _, event in events) and twice != state:
        result.found("I3", "folding every event twice gives another state")
    if shown is not None and state.status in _ENDED and digest(shown) != digest(picture(state)):
        result.found("I3", "the coordinator shows another state than the fold of the log")


async def _stored(result: Audit, records: Records, store: ObjectStore, winners: Iterable[JobRecord]) -> None:
    """Check I4 and I2: records and objects are in the store."""
    slots = asyncio.Semaphore(_TOGETHER)
    seen: dict[tuple[str, str], str] = {}

    async def one(record: JobRecord) -> None:
        async with slots:
            where = f"job {record.job_key} ({record.method})"
            if problem := await records.problem(record):
                result.found("I4", f"{where}: {problem}")
            async for ref in _named(store, record):
                if (ref.key, ref.sha256) in seen:
                    continue
                seen[ref.key, ref.sha256] = where
                try:
                    await store.get(ref)
                except (CorruptObject, BadInput) as error:
                    result.found("I2", f"{where}: {error}")

    async with asyncio.TaskGroup() as tasks:
        for record in winners:
            tasks.create_task(one(record))
    result.objects = len(seen)


async def _named(store: ObjectStore, record: JobRecord) -> AsyncIterator[ObjectRef]:
    """Yield the objects of a result: those of the response, and those in its tables of region maps and of answers."""
    response = response_of(record.method, record.response)
    for ref in references(response) if response is not None else ():
        yield ref
    try:
        if isinstance(response, PartitionResponse):
            table = tables.read(schemas.MAPS, await store.get(response.shard.maps), response.shard.maps.key)
            for ref in inputs.table_refs(table, ""):
                yield ref
        if isinstance(response, AnswerResponse):
            table = tables.read(schemas.LEDGER, await store.get(response.ledger), response.ledger.key)
            for ref in inputs.table_refs(table, "answer_"):
                if ref.sha256:
                    yield ref
    except (CorruptObject, BadInput):
        return  # told already: the response names the table


async def _queue(result: Audit, log: EventLog, state: RunState, seconds: float) -> None:
    """Check I5; a job that is still in the queue has ``seconds`` to be acknowledged."""
    if state.status != DONE:
        return
    verbs = {one.method for step in state.steps.values() for one in step.records.values()}
    left: list[str] = []
    for _ in range(max(1, int(seconds / 0.5))):
        left = []
        for method in sorted(verbs):
            left += [key for run_id, key in await log.queued(method) if run_id == result.run_id]
        if not left:
            return
        await asyncio.sleep(0.5)
    for key in left:
        result.found("I5", f"job {key}: is still in the queue although the run is done")


async def _labels(result: Audit, store: ObjectStore, state: RunState) -> None:
    """Check I6: regions labelled twice, and budgets."""
    if state.spec is None:
        return
    try:
        facts = Facts(state, recipe_of(state.spec))
    except BadInput:
        return
    seen: dict[tuple[str, int], int] = {}
    for round_ in range(max((place[0] for place in state.steps), default=-1) + 1):
        if not facts.has(0, "partition") or not all(facts.has(one, "label") for one in range(round_ + 1)):
            return
        rows: Any = {}
        for answer in (*facts.given(round_), facts.answers(round_)[round_]):
            try:
                rows = tables.read(schemas.LEDGER, await store.get(answer.ledger), answer.ledger.key)
            except (CorruptObject, BadInput):
                return  # I2 tells of it
            for region in zip(map(str, rows["image_id"]), map(int, rows["region_id"]), strict=True):
                if region in seen:
                    place = f"labelled in rounds {seen[region]} and {round_}"
                    result.found("I6", f"region {region[1]} of {region[0]}: {place}")
                seen[region] = round_
        _budget(result, facts, round_, rows)


def _budget(result: Audit, facts: Facts, round_: int, rows: Any) -> None:
    costs = facts.costs(round_)
    allowed = facts.allowance(round_)
    if allowed is None or people.asked(facts.recipe):
        # People who hold questions when the budget is reached still answer them.
        return
    spent = float(UNITS[allowed.unit].spent(costs[-1], facts.pool(round_)))
    column = _PRICES.get(allowed.unit)
    last = max(map(float, rows[column]), default=0.0) if column else 0.0
    if spent > (allowed.amount + last) * (1 + 1e-9):
        result.found("I6", f"round {round_}: took {spent:g} {allowed.unit}, its budget allowed {allowed.amount:g}")
