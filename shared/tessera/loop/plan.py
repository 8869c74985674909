"""Plan the next step of a run from its state alone: the same state gives the same jobs, so a restart repeats nothing.

partition → select → label → train → evaluate                                                            round 0
score → [featurize → fit] → [shortlist → candidates → project | fit] → select → label → train → evaluate  round ≥ 1

Where the data set grows, take comes first in rounds ≥ 1, partition after it where images joined the pool, and given
after that where some of them have labels, which are then answers before the round chooses.
Where labels came with the data set, they are the answers of round 0: partition → label → train → evaluate.
Where the evaluation set is asked for, its steps come before all others (`loop.evaluation_set`).
Where people answer, ask and collect come between select and label: collect is no job, the run waits at it.
Before score come the auxiliary networks that a column reads, step discriminate, unless the training leaves them.
The projection is fitted once on the pool; each round on the pool (features of the head), on the candidates, or on the
memory bank that the last training left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from tessera.errors import BadInput
from tessera.loop import asking, evaluation_set, growing, healing, networks, people, requests, stopping
from tessera.loop.budget import asked_until_spent, remaining
from tessera.loop.facts import Facts
from tessera.loop.healing import Redo
from tessera.loop.recipe import Recipe
from tessera.loop.reducer import RUNNING, RunState, Step
from tessera.pb.runs_pb2 import RunSpec


@dataclass(frozen=True)
class Job:
    """One job: the method's name and its request; the job key is made from both by the runtime."""

    method: str
    request: Message


@dataclass(frozen=True)
class StartStep:
    """Start a step: its jobs, in shard order."""

    step: str
    round: int
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Finish:
    """End the run: ``spent``, ``goal_reached``, ``plateau`` or ``pool_exhausted``."""

    reason: str


@dataclass(frozen=True)
class Fail:
    """End the run with a message for the user and an exit code (2 bad input, 3 a job failed)."""

    message: str
    exit_code: int


@dataclass(frozen=True)
class Wait:
    """Jobs are running, or the run has ended: nothing to decide."""


Action = StartStep | Finish | Fail | Redo | Wait

MAX_SHARDS: Final = 250_000
"""Shards of one split: a coordinator holds a kibibyte or two of each."""
MAX_ROUNDS: Final = 1000
MAX_SPEC_BYTES: Final = 128 << 10

POOL_FIT = ("featurize", "fit")


def steps(facts: Facts, round_: int) -> Iterator[str]:
    """Yield the names of the steps of one round, in order, as far as they are known."""
    recipe, spec = facts.recipe, facts.spec
    given = round_ == 0 and spec.dataset.HasField("given")
    if round_ == 0:
        if evaluation_set.wanted(recipe, spec):
            yield from evaluation_set.steps(recipe)
        yield "partition"
    else:
        if spec.series:
            yield growing.STEP
            if facts.joined(round_):
                yield "partition"
            if facts.labels_joined(round_) is not None:
                yield growing.GIVEN
        yield from _choosing(recipe, round_)
    if not given:
        yield "select"
        if people.asked(recipe):
            yield from people.STEPS
    yield from ("label", "train", "evaluate")


def _choosing(recipe: Recipe, round_: int) -> Iterator[str]:
    selection = recipe.selection
    if networks.auxiliaries(recipe):
        yield "discriminate"
    if recipe.score:
        yield "score"
    embedding = selection.embedding
    if embedding is None:
        return
    if embedding.refits or (embedding.fit_on == "pool" and round_ == 1):
        # Once per run, and only when a round needs it: a run without acquisition never pays for it. Features of the
        # head change with each training, so they are fitted anew each round, and that fit holds every candidate.
        yield from POOL_FIT
    if embedding.fit_on == "bank":
        yield "fit"
    if selection.shortlist:
        yield "shortlist"
    if not embedding.refits:
        yield "candidates"
        yield "fit" if embedding.fit_on == "shortlist" else "project"


def check(spec: RunSpec) -> Recipe:
    """Return the recipe of a run that can be planned; BadInput names what the data set or the spec lacks."""
    if spec.ByteSize() > MAX_SPEC_BYTES:
        raise BadInput(f"run {spec.run_id}: its description has {spec.ByteSize()} bytes, at most {MAX_SPEC_BYTES}")
    recipe = requests.recipe_of(spec)
    for split in ("train", *recipe.evaluate):
        if spec.split_sizes.get(split, 0) < 1:
            have = ", ".join(sorted(spec.split_sizes)) or "none"
            raise BadInput(
                f"data set {spec.dataset_name}: no images in split {split!r} (splits: {have}); "
                f"add them, or leave {split} out of the recipe's evaluate"
                + (
                    ", or set evaluation.images: so many random images are then labelled first"
                    if split == "val"
                    else ""
                )
            )
        asked = people.asked(recipe) if split == "train" else split == "val" and evaluation_set.wanted(recipe, spec)
        if split not in spec.dataset.labels and not asked:
            raise BadInput(f"data set {spec.dataset_name}: split {split!r} has no labels; import them")
    if not spec.class_names:
        raise BadInput(f"data set {spec.dataset_name}: no classes; name them in its manifest")
    _bounded(spec, recipe)
    for place, index in asking.undefined_classes(recipe):
        if index != len(spec.class_names):
            raise BadInput(
                f"{place}: {index}, but data set {spec.dataset_name} has {len(spec.class_names)} classes; the class "
                f"undefined comes after them: set it to {len(spec.class_names)}"
            )
    if recipe.model.pretrained != "random" and not spec.HasField("pretrained"):
        raise BadInput(
            f"model.pretrained: {recipe.model.pretrained!r} was asked for, but the run carries no weights; "
            "give a path, set TESSERA_WEIGHTS_DIR, or ask for a random start by name"
        )
    return recipe


def _bounded(spec: RunSpec, recipe: Recipe) -> None:
    """Refuse a run that could be planned but not held in memory."""
    if spec.shard_images < 0:
        raise BadInput(f"run {spec.run_id}: shard_images is {spec.shard_images}; give at least 1")
    images = spec.shard_images or recipe.runtime.shard_images
    for split in dict.fromkeys(("train", *recipe.evaluate)):
        size = spec.split_sizes[split]
        shards = math.ceil(size / images)
        if shards > MAX_SHARDS:
            raise BadInput(
                f"data set {spec.dataset_name}: {size} images in split {split!r} are {shards} shards of {images}, at "
                f"most {MAX_SHARDS} are planned; raise runtime.shard_images"
            )
    if recipe.budget.rounds > MAX_ROUNDS:
        raise BadInput(f"budget.rounds: {recipe.budget.rounds}, at most {MAX_ROUNDS} are planned; raise per_round")


def next_action(state: RunState) -> Action:
    """Decide: start the next step, end the run, or wait."""
    if state.status != RUNNING or state.spec is None:
        return Wait()
    if state.failures:
        others = [failure for failure in state.failures.values() if not healing.curable(failure)]
        if not others:
            cure = healing.cure(state, state.failures)
            return cure if isinstance(cure, Redo) else Fail(cure, 3)
        failure = min(others, key=lambda one: (one.reason == "cancelled", one.job_key))
        return Fail(f"{failure.method} failed ({failure.reason}): {failure.message}", failure.exit_code or 3)
    if state.open_steps:
        return Wait()
    try:
        return _next(state, check(state.spec))
    except BadInput as error:
        return Fail(str(error), 2)


def jobs(state: RunState, step: Step) -> tuple[Job, ...]:
    """Return the jobs of a started step, equal to those it was started with."""
    if state.spec is None:
        raise ValueError("a run without a spec has no jobs")
    return _jobs(Facts(state, requests.recipe_of(state.spec)), step.round, step.name)


def _next(state: RunState, recipe: Recipe) -> Action:
    facts = Facts(state, recipe)
    # Every earlier round is complete when a later one has begun.
    for round_ in range(max((place[0] for place in state.steps), default=0), recipe.budget.rounds + 1):
        names = list(steps(facts, round_))
        if round_ > 0 and (round_, names[0]) not in state.steps and (why := stopping.reason(facts, round_ - 1)):
            return Finish(why)
        # What joins the pool counts before the pool is found empty.
        choosing = next(name for name in names if name not in (growing.STEP, "partition", growing.GIVEN))
        for name in names:
            if (round_, name) not in state.steps:
                if round_ > 0 and name == choosing and _left(facts, round_) <= 0:
                    return Finish("pool_exhausted")
                return StartStep(name, round_, _jobs(facts, round_, name))
            broken = _verify(facts, round_, name)
            if broken is not None:
                return broken
    return Finish(stopping.reason(facts, recipe.budget.rounds) or "spent")


def _left(facts: Facts, round_: int) -> float:
    unit = "regions" if asked_until_spent(facts.recipe) else facts.recipe.budget.unit
    return facts.left(round_, unit)


def _verify(facts: Facts, round_: int, name: str) -> Fail | Finish | None:
    """Return the failure of a step whose result cannot be built on; None where it can."""
    if name == "partition" and round_ == 0:
        return _affordable(facts)
    if name == "select":
        count = facts.selected(round_).count
        if count < 1 and round_ > 0 and facts.recipe.selection.constraints:
            # No region that is left may be chosen.
            return Finish("pool_exhausted")
        if count < 1:
            return Fail(f"round {round_}: the selection is empty although regions are left; check its stages", 3)
        budget = facts.recipe.budget
        if round_ > 0 and budget.unit == "regions" and count > budget.per_round:
            return Fail(f"round {round_}: {count} regions selected with a budget of {budget.per_round:g}", 3)
    return None


def _affordable(facts: Facts) -> Fail | None:
    """Refuse a budget larger than the pool before anything is labelled."""
    recipe, pool = facts.recipe, facts.pool(0)
    if pool.regions < 1:
        return Fail(f"data set {facts.spec.dataset_name}: the training pool has no regions; add images to train", 2)
    unit = recipe.budget.unit
    first = facts.initial_amount()
    total = first + recipe.budget.per_round * recipe.budget.rounds
    size = remaining(unit, pool, [])
    if total <= size * (1 + 1e-9) or facts.spec.series:
        # A pool that grows may still have room for it.
        return None
    return Fail(
        f"budget: {first:g} {unit} first and {recipe.budget.rounds} rounds of {recipe.budget.per_round:g} are "
        f"{total:g} {unit}, but the pool of {facts.spec.dataset_name} has {size:g}; "
        "lower budget.rounds or budget.per_round, or add images",
        2,
    )


def _jobs(facts: Facts, round_: int, name: str) -> tuple[Job, ...]:
    method, made = requests.BUILDERS[name](facts, round_)
    return tuple(Job(method, request) for request in made)
