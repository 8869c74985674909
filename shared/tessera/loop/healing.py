"""Damage at rest: which jobs are done again when a job cannot read the output of an earlier one. Pure.

The output of a job can be computed again from its inputs, and so can damaged inputs: each repeated job names the object
it misses, until everything is there. Answers of people and imported data are outputs of no job; the failure names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tessera.errors import BadInput
from tessera.loop.reducer import RunState
from tessera.loop.requests import recipe_of
from tessera.loop.responses import made
from tessera.pb.jobs_pb2 import JobFailure
from tessera.pb.runs_pb2 import RunSpec
from tessera.queries import ORACLES

LIMIT: Final = 3
"""How often a run has the same result computed again: a store that keeps losing it is for a person to mend."""
_REQUEST: Final = "application/x-protobuf"


@dataclass(frozen=True)
class Redo:
    """Make the results of ``job_keys`` again, then try the failed jobs ``retried`` once more."""

    job_keys: tuple[str, ...]
    retried: tuple[str, ...]
    reason: str


def curable(failure: JobFailure) -> bool:
    """Return whether a job failed because a stored object is lost or damaged."""
    return failure.reason == "corrupt_object" and failure.HasField("object")


def cure(state: RunState, failures: Mapping[str, JobFailure]) -> Redo | str:
    """Return the remedy for failures that are all ``curable``, or why one of them has none."""
    keys: dict[str, None] = {}
    for failure in failures.values():
        # A request too large for a message is in the store: queuing the job again writes it again.
        own = failure.object.media_type == _REQUEST
        key = failure.job_key if own else maker(state, failure.object.sha256)
        if key is None:
            return _nobody(state.spec, failure)
        if key in state.distrusted:
            # It is already being computed again; this job met the damage a moment later.
            continue
        if (why := refusal(state, key)) is not None:
            return f"{failure.message}; {why}"
        if state.redone.get(key, 0) >= LIMIT:
            return (
                f"{failure.message}, although job {key} made it again {LIMIT} times; the store loses or changes what "
                f"is written: mend it, then tessera redo {key}"
            )
        keys[key] = None
    reason = min(failure.message for failure in failures.values())
    return Redo(tuple(sorted(keys)), tuple(sorted(failures)), reason)


def maker(state: RunState, sha256: str) -> str | None:
    """Return the key of the job of this run that wrote the object, the earliest where several did."""
    for step in state.steps.values():
        for key in dict.fromkeys(step.job_keys):
            record = step.records.get(key) or state.distrusted.get(key)
            if record is not None and made(record.method, record.response, record.wrote, sha256):
                return key
    return None


def refusal(state: RunState, key: str) -> str | None:
    """Return why the result of a job of the run is never computed again; None: it may be."""
    for place in state.places.get(key, ()):
        if state.steps[place].name == "take":
            return (
                f"round {place[0]}, take (job {key}): the round used this version of the data set, and the store may "
                "have a newer one now; restore the object from a backup of the store"
            )
    if state.spec is None or not _asks_people(state.spec):
        return None
    for place in state.places.get(key, ()):
        name = state.steps[place].name
        if name in ("collect", "val_collect"):
            return (
                f"round {place[0]}, {name} (job {key}): people gave these answers and no computation can; restore the "
                "object from a backup of the store"
            )
    return None


def _asks_people(spec: RunSpec) -> bool:
    try:
        oracle = recipe_of(spec).oracle
        return ORACLES.entry(oracle.name).traits.by_people
    except BadInput:
        return False


def _nobody(spec: RunSpec | None, failure: JobFailure) -> str:
    """Return the remedy for an object that no job of the run made, by its records."""
    what = f"data set {spec.dataset_name}" if spec is not None else "the data set"
    if spec is not None and failure.object.sha256 == spec.pretrained.sha256:
        what = "the pretrained weights"
    elif failure.object.bucket.startswith(("s3://", "file://")):
        return f"{failure.message}; put the imported image back, then tessera resume"
    elif not failure.object.key.startswith("datasets/"):
        return (
            f"{failure.message}; no record of this run says which job wrote it (those of older versions do not): "
            "tessera redo KEY makes the result of a job again, tessera audit names the jobs"
        )
    return (
        f"{failure.message}; no job of this run made it: it was imported with {what} and cannot be computed again. "
        "Bring the same data into the store again (tessera submit, or tessera data import, with the same files), or "
        "restore the object from a backup; then tessera resume"
    )
