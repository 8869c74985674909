"""The public picture of a run: its state as one message, for people, clients and reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tessera.errors import BadInput
from tessera.loop import plan
from tessera.loop.facts import Facts
from tessera.loop.reducer import RunState, Step
from tessera.loop.requests import recipe_of
from tessera.pb.common_pb2 import ObjectRef, RegionShard
from tessera.pb.evaluator_pb2 import EvaluateResponse
from tessera.pb.oracle_pb2 import AnswerResponse, Cost
from tessera.pb.runs_pb2 import DataTaken, RoundView, RunView, SplitCounts, StepTiming
from tessera.pb.trainer_pb2 import TrainResponse


@dataclass
class Kept:
    """The parts that later pictures of the same run reuse: the size of its pool, and its complete rounds."""

    pool: tuple[int, int] | None = None
    rounds: dict[int, RoundView] = field(default_factory=dict)


def view(state: RunState, kept: Kept | None = None) -> RunView:
    """Return the run as clients see it; also for a run whose recipe this version cannot read (then without rounds).

    Objects per shard are left out (``objects`` has them), so that a picture does not grow with the data. ``kept`` must
    come from pictures of the same run; it makes this one cheap.
    """
    kept = kept or Kept()
    made = RunView(status=state.status, message=state.message, exit_code=state.exit_code)
    made.wall_seconds = max(0.0, state.ended - state.started)
    if state.spec is None:
        return made
    made.spec.CopyFrom(state.spec)
    _position(made, state)
    try:
        # A result that is computed again is shown as it was until the new one is there.
        state = state.with_distrusted()
        assert state.spec is not None  # noqa: S101  # see above
        facts = Facts(state, recipe_of(state.spec))
    except BadInput:
        return made
    made.planned_rounds = facts.recipe.budget.rounds
    if kept.pool is None and facts.has(0, "partition"):
        kept.pool = facts.pool(0).regions, facts.pool(0).pixels
    if kept.pool is not None:
        made.pool_regions, made.pool_pixels = kept.pool
    for round_ in sorted({place[0] for place in state.steps}):
        shown = kept.rounds.get(round_) or _round(facts, round_)
        made.rounds.append(shown)
        if shown.complete:
            kept.rounds[round_] = shown
    return made


def objects(state: RunState, kind: str, round_: int) -> list[RegionShard] | list[ObjectRef]:
    """Return the objects that a run has for each shard: ``shards`` of the pool; ``scores`` or ``confusion`` of a round.

    Empty where its step is not done. BadInput names an unknown kind.
    """
    if kind not in ("shards", "scores", "confusion"):
        raise BadInput(f"kind {kind[:80]!a}: unknown; use shards, scores or confusion")
    if state.spec is None:
        return []
    facts = Facts(state, recipe_of(state.spec))
    if kind == "shards":
        last = max((place[0] for place in state.steps if facts.has(*place)), default=0)
        return facts.shards(facts.pooled(last)) if facts.has(0, "partition") else []
    if kind == "scores":
        return facts.scores(round_)
    if not facts.has(round_, "evaluate"):
        return []
    return [one.confusion for one in facts.results(round_, "evaluate", EvaluateResponse)]


def manifest_of(made: RunView, round_: int | None = None) -> ObjectRef:
    """Return the manifest of the data set that a run's round had, by default that of its newest round."""
    found = made.spec.dataset.manifest
    for one in made.rounds:
        if one.HasField("data") and (round_ is None or one.round <= round_):
            found = one.data.manifest
    return found


def changes(made: RunView, known: Mapping[int, RoundView]) -> RunView:
    """Return a picture without its spec and without the rounds that are as ``known`` has them."""
    told = RunView()
    told.CopyFrom(made)
    told.ClearField("spec")
    told.ClearField("rounds")
    told.rounds.extend(one for one in made.rounds if known.get(one.round) != one)
    return told


def merged(run: RunView, told: RunView) -> RunView:
    """Return the picture after ``changes``, given the one before: the inverse of `changes`."""
    made = RunView()
    made.CopyFrom(told)
    made.spec.CopyFrom(run.spec)
    rounds = {one.round: one for one in (*run.rounds, *told.rounds)}
    made.ClearField("rounds")
    made.rounds.extend(rounds[round_] for round_ in sorted(rounds))
    return made


def is_done(state: RunState, key: str) -> bool:
    """Return whether a job has a result wherever the run asked for it."""
    return all(key in state.steps[place].records for place in state.places.get(key, ()))


def progress(state: RunState | None, running: Mapping[str, tuple[float, str]]) -> tuple[float, str]:
    """Return how far the open step is, in 0..1, and a note: finished jobs, and the parts of those that run.

    ``running``: job key → fraction and note, as workers tell them. ``None`` stands for a run that is done.
    """
    step = next(iter(state.open_steps), None) if state is not None else None
    if step is None:
        return (1.0 if state is None else 0.0), ""
    assert state is not None  # noqa: S101  # it has a step
    place = (step.round, step.name)
    parts = [told for key, told in running.items() if place in state.places.get(key, ()) and key not in step.records]
    done = len(step.records) + sum(min(max(part, 0.0), 1.0) for part, _ in parts)
    return done / max(step.jobs, 1), next((note for _, note in parts if note), "")


def _position(made: RunView, state: RunState) -> None:
    """Where the run stands: the step that has jobs out, else the last one."""
    step = next(iter(state.open_steps), None) or max(
        state.steps.values(), key=lambda one: (one.round, one.started, one.ended), default=None
    )
    if step is not None:
        made.round, made.step = step.round, step.name
        made.jobs_done, made.jobs_total = len(step.records), step.jobs


def _round(facts: Facts, round_: int) -> RoundView:
    made = RoundView(round=round_)
    if facts.has(round_, "select"):
        selected = facts.selected(round_)
        made.selection.CopyFrom(selected.selection)
        made.selection_sha256 = selected.selection_sha256
        made.notes.extend(selected.notes)
    if facts.has(round_, "label"):
        answer = facts.results(round_, "label", AnswerResponse)[0]
        made.ledger.CopyFrom(answer.ledger)
        made.cost.CopyFrom(facts.cost(round_))
        if answer.HasField("selection"):
            # The ranking was longer than the budget: the regions asked about are the chosen ones.
            made.selection.CopyFrom(answer.selection)
            made.selection_sha256 = answer.selection_sha256
    for given in facts.given(round_):
        made.given.CopyFrom(given.ledger)
        _add(made.cost, given.cost)
    if facts.has(round_, "train"):
        _training(made, facts.trained(round_))
    _points(made, facts, round_)
    if facts.spec.series and facts.pooled(round_) == round_ and facts.has(0, "partition"):
        taken, size = facts.data(round_), facts.pool(round_)
        counts = {"images": size.images, "regions": size.regions, "pixels": size.pixels}
        made.data.CopyFrom(DataTaken(version=taken.version, manifest=taken.manifest, **counts))
    made.splits.extend(_splits(facts, round_))
    made.timings.extend(_timings(facts, round_))
    made.complete = facts.has(round_, "evaluate")
    return made


def _points(made: RoundView, facts: Facts, round_: int) -> None:
    """Set the candidates of a round and the points that it chose from."""
    candidates, embedding = facts.shortlist(round_), facts.embedding(round_)
    if candidates is not None:
        made.candidates.CopyFrom(candidates)
    if embedding is not None:
        made.embedding.CopyFrom(embedding)
    if (pool := facts.pool_embedding(round_)) is not None:
        made.pool_embedding.CopyFrom(pool)


def _add(total: Cost, more: Cost) -> None:
    for descriptor, amount in more.ListFields():
        setattr(total, descriptor.name, getattr(total, descriptor.name) + amount)


def _training(made: RoundView, trained: TrainResponse) -> None:
    """Return the results of a round's training."""
    made.model.CopyFrom(trained.model)
    made.history.CopyFrom(trained.history)
    made.kept_epoch = trained.kept_epoch
    if trained.HasField("reported"):
        made.reported.CopyFrom(trained.reported)
    if trained.HasField("losses"):
        made.losses.CopyFrom(trained.losses)
    for name in sorted(trained.extras):
        made.extras[name].CopyFrom(trained.extras[name])


def _splits(facts: Facts, round_: int) -> Iterator[SplitCounts]:
    """Yield the sums over each split's shards: exact, whatever the sharding."""
    if not facts.has(round_, "evaluate"):
        return
    responses = iter(facts.results(round_, "evaluate", EvaluateResponse))
    for split in facts.recipe.evaluate:
        shards = [next(responses) for _ in facts.ranges(split)]
        yield SplitCounts(
            split=split,
            true_positives=_sum([one.true_positives for one in shards]),
            false_positives=_sum([one.false_positives for one in shards]),
            false_negatives=_sum([one.false_negatives for one in shards]),
            images=sum(one.images for one in shards),
            counts_images=any(one.counts_images for one in shards),
        )


def _sum(columns: list[Any]) -> list[int]:
    return [sum(values) for values in zip(*columns, strict=True)]


def _timings(facts: Facts, round_: int) -> Iterator[StepTiming]:
    for name in plan.steps(facts, round_):
        step: Step | None = facts.state.steps.get((round_, name))
        if step is not None:
            yield StepTiming(
                step=name,
                wall_seconds=max(0.0, step.ended - step.started),
                compute_seconds=sum(record.compute_seconds for record in step.records.values()),
                jobs=len(step.job_keys),
                images_per_second=max((record.images_per_second for record in step.records.values()), default=0.0),
            )
