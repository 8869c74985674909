"""The run's event log, folded into its state. Pure: no clock, no I/O; times are those of the events."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from google.protobuf.message import Message

from tessera.loop.responses import digest, response_of
from tessera.pb.jobs_pb2 import JobFailure
from tessera.pb.runs_pb2 import JobFailed, RunEvent, RunSpec, RunStatus

VERSION = 1
"""Bump when the same log would fold to another state or another plan, and record a history for it."""

M = TypeVar("M", bound=Message)
Place = tuple[int, str]
RUNNING, DONE, FAILED, CANCELLED = (
    RunStatus.RUN_STATUS_RUNNING,
    RunStatus.RUN_STATUS_DONE,
    RunStatus.RUN_STATUS_FAILED,
    RunStatus.RUN_STATUS_CANCELLED,
)


@dataclass(frozen=True, slots=True)
class Result:
    """The part of a job's record that a run keeps: a run of millions of images has many of them."""

    response: bytes
    """Serialized response message."""
    compute_seconds: float
    method: str = ""
    wrote: bytes = b""
    """``JobRecord.wrote``."""
    digest: bytes = b""
    """``responses.digest`` as bytes."""
    images_per_second: float = 0.0
    """Of a training; 0: not measured."""


@dataclass(frozen=True)
class Step:
    """One started step: its jobs in shard order, and the results that have arrived."""

    round: int
    name: str
    job_keys: tuple[str, ...]
    records: Mapping[str, Result] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
    jobs: int = -1
    """Number of different jobs; counted once, because every result needs it."""

    def __post_init__(self) -> None:
        if self.jobs < 0:
            object.__setattr__(self, "jobs", len(set(self.job_keys)))

    @property
    def done(self) -> bool:
        """Whether every job has a result."""
        return len(self.records) == self.jobs

    def responses(self, kind: type[M]) -> list[M]:
        """Decode the results in job order; every job must be done."""
        return [kind.FromString(self.records[key].response) for key in self.job_keys]


@dataclass(frozen=True)
class RunState:
    """State of a run by its log. Results commute: the order in which jobs end never changes the state."""

    version: int = VERSION
    spec: RunSpec | None = None
    status: RunStatus = RunStatus.RUN_STATUS_UNSPECIFIED
    message: str = ""
    exit_code: int = 0
    steps: Mapping[Place, Step] = field(default_factory=dict)
    # Which steps wait for or hold the result of a job.
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)
    # Results (and their time) that came before their step, or that belong to no step.
    early: Mapping[str, tuple[Result, float]] = field(default_factory=dict)
    failures: Mapping[str, JobFailure] = field(default_factory=dict)
    # Results that are distrusted and not replaced yet, and how often the coordinator had a job's result computed again.
    distrusted: Mapping[str, Result] = field(default_factory=dict)
    redone: Mapping[str, int] = field(default_factory=dict)
    # How often the run was resumed; a new attempt is a new dispatch, not a duplicate of the old one.
    resumes: int = 0
    unknown_events: int = 0
    started: float = 0.0
    ended: float = 0.0

    @property
    def open_steps(self) -> list[Step]:
        """Return the steps that have unfinished jobs."""
        return [step for step in self.steps.values() if not step.done]

    def with_distrusted(self) -> RunState:
        """Return the state as it was before results were distrusted, to be shown meanwhile."""
        if not self.distrusted:
            return self
        steps = dict(self.steps)
        for key, result in self.distrusted.items():
            for place in self.places.get(key, ()):
                steps[place] = replace(steps[place], records={**steps[place].records, key: result})
        return replace(self, steps=steps)


def apply(state: RunState, event: RunEvent) -> RunState:
    """Fold one event. Total: duplicates change nothing, unknown kinds are counted and ignored."""
    return fold(state, (event,))


def fold(state: RunState, events: Iterable[RunEvent]) -> RunState:
    """Fold many events with one copy of the state's maps, so that replaying n of them costs O(n)."""
    draft = _Draft(state)
    for event in events:
        draft.take(event)
    return draft.freeze()


class _Draft:
    """The maps of a state, copied once on first write, and its other fields."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._maps: dict[str, dict[Any, Any]] = {}
        self._fields: dict[str, Any] = {}
        self._own: set[Place] = set()

    def freeze(self) -> RunState:
        changed: dict[str, Any] = {**self._fields, **self._maps}
        return replace(self._state, **changed) if changed else self._state

    def take(self, event: RunEvent) -> None:
        kind = event.WhichOneof("kind")
        handler = getattr(self, f"_{kind}", None) if kind else None
        if handler is None:
            self._fields["unknown_events"] = self._get("unknown_events") + 1
            return
        at = event.time.seconds + event.time.nanos / 1e9
        handler(getattr(event, kind or ""), at)
        if at and kind != "archived":
            started = self._get("started")
            self._fields["started"] = min(started, at) if started else at
            self._fields["ended"] = max(self._get("ended"), at)

    def _get(self, name: str) -> Any:
        return self._fields.get(name, getattr(self._state, name))

    def _map(self, name: str) -> dict[Any, Any]:
        if name not in self._maps:
            self._maps[name] = dict(getattr(self._state, name))
        return self._maps[name]

    def _look(self, name: str) -> Mapping[Any, Any]:
        found: Mapping[Any, Any] = self._maps.get(name, getattr(self._state, name))
        return found

    def _set(self, status: RunStatus, message: str = "", exit_code: int = 0) -> None:
        self._fields.update(status=status, message=message, exit_code=exit_code)

    def _submitted(self, event: Any, at: float) -> None:
        if self._get("spec") is None:
            self._fields["spec"] = event.spec
            if self._get("status") == RunStatus.RUN_STATUS_UNSPECIFIED:
                self._set(RUNNING)

    def _step_started(self, event: Any, at: float) -> None:
        place = (event.round, event.step)
        if place in self._look("steps"):
            return
        records: dict[str, Result] = {}
        ended, alone = at, (place,)
        job_keys = tuple(map(sys.intern, event.job_keys))
        for key in dict.fromkeys(job_keys):
            known = self._look("places").get(key, ())
            if key in self._look("early"):
                records[key], when = self._map("early").pop(key)
                ended = max(ended, when)
            for other in known:
                # The same computation may already have ended for another step.
                if key in self._look("steps")[other].records:
                    records[key] = self._look("steps")[other].records[key]
            # Sorted, so that the order in which steps were read does not matter.
            self._map("places")[key] = tuple(sorted((*known, place))) if known else alone
        self._map("steps")[place] = Step(event.round, event.step, job_keys, records, at, ended)
        self._own.add(place)

    def _job_done(self, event: Any, at: float) -> None:
        record, key = event.record, sys.intern(event.record.job_key)
        if response_of(record.method, record.response) is None:
            self._unreadable(record)
            return
        name = bytes.fromhex(digest(record))
        method = sys.intern(record.method)
        speed = record.images_per_second
        result = Result(record.response, record.compute_seconds, method, record.wrote, name, speed)
        before = self._look("distrusted").get(key)
        if before is not None and before.digest == name:
            # A late event of the distrusted result.
            return
        if key in self._look("failures"):
            # A result settles the job, whether it or the failure was read first.
            del self._map("failures")[key]
        places = self._look("places").get(key, ())
        if before is not None:
            del self._map("distrusted")[key]
            if before.response != record.response:
                self._forget_after(places)
                places = self._look("places").get(key, ())
        if not places:
            self._map("early").setdefault(key, (result, at))
        for place in places:
            self._record(place, key, result, at)

    def _record(self, place: Place, key: str, result: Result, at: float) -> None:
        step = self._look("steps")[place]
        if key in step.records:
            return
        if place not in self._own:
            step = replace(step, records=dict(step.records))
            self._own.add(place)
        records: Any = step.records
        records[key] = result
        self._map("steps")[place] = replace(step, ended=max(step.ended, at))

    def _job_failed(self, event: Any, at: float) -> None:
        failure = event.failure
        key = failure.job_key
        steps = self._look("steps")
        done = key in self._look("early") or any(
            key in steps[place].records for place in self._look("places").get(key, ())
        )
        if not done and key not in self._look("failures"):
            self._map("failures")[key] = failure

    def _unreadable(self, record: Any) -> None:
        """Fail a job with an unusable result; resuming the run has it computed again."""
        message = "its result cannot be decoded; tessera resume computes it again"
        failure = JobFailure(
            job_key=record.job_key, method=record.method[:80], reason="corrupt_object", message=message, exit_code=3
        )
        self._job_failed(JobFailed(failure=failure), 0.0)

    def _forget_after(self, places: tuple[Place, ...]) -> None:
        """Drop the steps that were planned from a result that has changed; their own results may be reused."""
        order = list(self._look("steps"))
        for place in order[min(map(order.index, places), default=len(order)) + 1 :]:
            step = self._map("steps").pop(place)
            for key in dict.fromkeys(step.job_keys):
                left = tuple(other for other in self._look("places").get(key, ()) if other != place)
                if left:
                    self._map("places")[key] = left
                    continue
                self._map("places").pop(key, None)
                self._map("distrusted").pop(key, None)
                self._map("failures").pop(key, None)
                if key in step.records:
                    self._map("early")[key] = (step.records[key], step.ended)

    def _redone(self, event: Any, at: float) -> None:
        if self._get("status") == CANCELLED:
            return
        for key in event.job_keys:
            if not event.asked:
                self._map("redone")[key] = self._look("redone").get(key, 0) + 1
            for place in self._look("places").get(key, ()):
                step = self._look("steps")[place]
                if key in step.records:
                    self._map("distrusted")[key] = step.records[key]
                    records = {one: result for one, result in step.records.items() if one != key}
                    self._map("steps")[place] = replace(step, records=records)
                    self._own.add(place)
        if self._get("status") == RUNNING:
            for key in (*event.job_keys, *event.retried_keys):
                self._map("failures").pop(key, None)
        else:
            self._maps["failures"] = {}
            self._set(RUNNING)

    def _archived(self, event: Any, at: float) -> None:
        """Change nothing: readers of the log replace this event by the archived ones."""

    def _forgotten(self, event: Any, at: float) -> None:
        """Change nothing: the coordinator drops this run."""

    def _cancelled(self, event: Any, at: float) -> None:
        if self._get("status") in (RUNNING, FAILED):
            self._set(CANCELLED, event.reason or "cancelled", 130)

    def _failed(self, event: Any, at: float) -> None:
        if self._get("status") == RUNNING:
            self._set(FAILED, event.message, event.exit_code or 3)

    def _finished(self, event: Any, at: float) -> None:
        if self._get("status") == RUNNING:
            self._set(DONE, event.reason)

    def _resumed(self, event: Any, at: float) -> None:
        if self._get("status") in (FAILED, CANCELLED):
            self._set(RUNNING)
            self._maps["failures"] = {}
            self._fields["resumes"] = self._get("resumes") + 1
