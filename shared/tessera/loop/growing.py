"""A data set that grows during a run: each round from 1 on takes up its newest version, in step take.

Labels that came with images which join the pool are made answers in step given, a job of the oracle's.

Like step collect it is no job for a worker: the coordinator looks into the store and commits what it found as the
step's record. So the log says which version a round used, and whoever replays or rebuilds the run finds the same.
"""

from __future__ import annotations

from typing import Final

from tessera.loop.embedding import Made
from tessera.loop.facts import Facts
from tessera.pb.common_pb2 import AxisValue
from tessera.pb.oracle_pb2 import AnswerRequest
from tessera.pb.partitioner_pb2 import PartitionResponse
from tessera.pb.runs_pb2 import RunSpec, RunStatus, RunView, TakeVersionRequest

STEP: Final = "take"
TAKE: Final = "TakeVersion"
"""Name of the step's method: that of its messages, TakeVersionRequest and TakeVersionResponse."""
ALGORITHM: Final = "take/1"
GIVEN: Final = "given"


def take(facts: Facts, round_: int) -> Made:
    """Look for images that joined the data set since the round before."""
    before = facts.data(round_ - 1)
    return TAKE, [
        TakeVersionRequest(
            context=facts.context(round_, STEP),
            run_id=facts.spec.run_id,
            round=round_,
            series=facts.spec.series,
            manifest=before.manifest,
            version=before.version,
        )
    ]


def given(facts: Facts, round_: int) -> Made:
    """Make the labels of images that joined answers, in the way of round 0 (`requests.label`)."""
    return "Answer", [
        AnswerRequest(
            context=facts.context(round_, GIVEN),
            manifest=facts.manifest(round_),
            shards=[response.shard for response in facts.results(round_, "partition", PartitionResponse)],
            labels=facts.labels_joined(round_),
            query=facts.recipe.query.message(),
            oracle=AxisValue(name="imported", parameters="{}"),
            # The round is in the ledger, and not in the job's key.
            seed=facts.seed(round_, GIVEN),
            imported=True,
        )
    ]


def same_run(known: RunSpec, asked: RunSpec) -> bool:
    """Return whether two specs differ in nothing but the version of the data set that the run follows."""
    return known.series != "" and known.version != asked.version and _without_version(known) == _without_version(asked)


def _without_version(spec: RunSpec) -> RunSpec:
    made = RunSpec()
    made.CopyFrom(spec)
    made.ClearField("version")
    made.ClearField("split_sizes")
    made.dataset.ClearField("manifest")
    made.dataset.ClearField("given")
    return made


def stays(run: RunView, asked: RunSpec) -> str:
    """Return what to tell somebody who submits a run again on another version of its data set."""
    spec = run.spec
    version = max((one.data.version for one in run.rounds if one.HasField("data")), default=spec.version)
    has = f"version {version}" if version == spec.version else f"version {version} (it began with {spec.version})"
    if run.status == RunStatus.RUN_STATUS_RUNNING:
        state = f"it has {has} of data set {spec.series} and takes up the newest at the start of each round"
    else:
        state = f"{RunStatus.Name(run.status)[11:].lower()}, with {has} of data set {spec.series}"
    return (
        f"run {spec.run_id} is there already, and stays as it is: {state}. For a new run that begins with version "
        f"{asked.version}: --data dataset:{spec.series}@{asked.version}+"
    )
