"""The request messages of every step. Only this module decides which service gets which labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tessera.acquisition import CONSTRAINTS, STAGES
from tessera.loop import axes, embedding, evaluation_set, growing, networks, people
from tessera.loop.budget import asked_until_spent, offered
from tessera.loop.embedding import Made
from tessera.loop.facts import Facts
from tessera.loop.reading import from_canonical
from tessera.loop.recipe import Recipe
from tessera.pb.common_pb2 import AxisValue, ObjectRef
from tessera.pb.evaluator_pb2 import EvaluateRequest
from tessera.pb.oracle_pb2 import AnswerRequest
from tessera.pb.partitioner_pb2 import PartitionRequest
from tessera.pb.runs_pb2 import RunSpec
from tessera.pb.scorer_pb2 import ScoreColumn, ScoreRequest
from tessera.pb.selector_pb2 import Budget, SelectRequest
from tessera.pb.trainer_pb2 import DiscriminateRequest, TrainRequest


def recipe_of(spec: RunSpec) -> Recipe:
    """Read the recipe a run carries."""
    return from_canonical(spec.recipe)


def partition(facts: Facts, round_: int) -> Made:
    """Cut the training pool into regions, one job per shard; after round 0 the images that joined it."""
    return "Partition", [
        PartitionRequest(
            context=facts.context(round_, "partition", index),
            manifest=facts.manifest(round_),
            images=images,
            partition=facts.recipe.partition.message(),
        )
        for index, images in enumerate(facts.joined(round_))
    ]


def discriminate(facts: Facts, round_: int) -> Made:
    """Train the auxiliary networks that the columns read, one job each, on which regions have an answer so far."""
    return "Discriminate", [
        DiscriminateRequest(
            context=facts.context(round_, "discriminate", index),
            manifest=facts.manifest(round_),
            ledgers=facts.answered_before(round_),
            shards=facts.shards(round_),
            model=facts.trained(round_ - 1).model if one.needs_model else None,
            auxiliary=one.axis,
            seed=facts.seed(round_, "discriminate"),
        )
        for index, one in enumerate(networks.auxiliaries(facts.recipe))
    ]


def score(facts: Facts, round_: int) -> Made:
    """Score the pool with the model of the round before, one job per shard."""
    columns = [
        ScoreColumn(
            column=one.column,
            score=one.axis.message(),
            aggregation=one.aggregate.message(),
        )
        for one in facts.recipe.score
    ]
    model = facts.trained(round_ - 1).model if facts.recipe.needs_model() else None
    return "Score", [
        ScoreRequest(
            context=facts.context(round_, "score", index),
            manifest=facts.manifest(round_),
            shard=shard,
            model=model,
            columns=columns,
            seed=facts.seed(round_, "score"),
            auxiliary=facts.auxiliary(round_),
        )
        for index, shard in enumerate(facts.shards(round_))
    ]


def shortlist(facts: Facts, round_: int) -> Made:
    """Choose the candidates, which alone are embedded; the stages' own count limits them, not the round's budget."""
    left = facts.left(round_, "regions")
    return "Select", [
        SelectRequest(
            context=facts.context(round_, "shortlist"),
            shards=facts.shards(round_),
            scores=facts.scores(round_),
            ledgers=facts.answered_before(round_) + facts.skipped(round_ - 1),
            stages=[stage.message() for stage in facts.recipe.selection.shortlist],
            budget=Budget(unit="regions", amount=left),
            seed=facts.seed(round_, "shortlist"),
            manifest=_times(facts, round_, facts.recipe.selection.shortlist),
        )
    ]


def _times(
    facts: Facts, round_: int, stages: Sequence[axes.Axis], constraints: Sequence[axes.Axis] = ()
) -> ObjectRef | None:
    """Return the manifest where stages read sequences and times; other selections do not depend on the data set."""
    needed = any(STAGES.entry(one.name).traits.needs_times for one in stages) or any(
        CONSTRAINTS.entry(one.name).traits.needs_times for one in constraints
    )
    return facts.manifest(round_) if needed else None


def select(facts: Facts, round_: int) -> Made:
    """Choose the round's regions; round 0 uses the initial stages, which decide their number.

    Where prices come with the answers this is a ranking, of which the first part is then asked (``label``).
    """
    selection, allowed = facts.recipe.selection, facts.allowance(round_)
    request = SelectRequest(
        context=facts.context(round_, "select"), shards=facts.shards(round_), seed=facts.seed(round_, "select")
    )
    if round_ == 0:
        everything = Budget(unit="regions", amount=facts.pool(round_).regions)
        request.stages.extend(stage.message() for stage in selection.initial)
        request.MergeFrom(SelectRequest(manifest=_times(facts, round_, selection.initial)))
        request.budget.CopyFrom(offered(allowed, facts.recipe) if allowed is not None else everything)
        return "Select", [request]
    assert allowed is not None  # noqa: S101  # every round but the first has a budget
    request.stages.extend(stage.message() for stage in selection.stages)
    request.constraints.extend(one.message() for one in selection.constraints)
    request.MergeFrom(SelectRequest(manifest=_times(facts, round_, selection.stages, selection.constraints)))
    request.budget.CopyFrom(offered(allowed, facts.recipe))
    request.scores.extend(facts.scores(round_))
    request.ledgers.extend(facts.answered_before(round_) + facts.skipped(round_ - 1))
    chosen_from, points = facts.shortlist(round_), facts.embedding(round_)
    if chosen_from is not None:
        request.candidates.CopyFrom(chosen_from)
    if points is not None:
        request.embedding.CopyFrom(points)
    return "Select", [request]


def label(facts: Facts, round_: int) -> Made:
    """Ask the questions: the only request that carries train labels. Where people were asked, it has their answers
    instead, and no label. Labels that came with the data set are the answers of round 0."""
    if round_ == 0 and facts.spec.dataset.HasField("given"):
        return "Answer", [
            AnswerRequest(
                context=facts.context(round_, "label"),
                manifest=facts.manifest(round_),
                shards=facts.shards(round_),
                labels=facts.spec.dataset.given,
                query=facts.recipe.query.message(),
                oracle=AxisValue(name="imported", parameters="{}"),
                imported=True,
            )
        ]
    request = AnswerRequest(
        context=facts.context(round_, "label"),
        manifest=facts.manifest(round_),
        shards=facts.shards(round_),
        selection=facts.selected(round_).selection,
        query=facts.recipe.query.message(),
        oracle=facts.recipe.oracle.message(),
        seed=facts.seed(round_, "label"),
    )
    if people.asked(facts.recipe):
        request.answers.CopyFrom(people.answers(facts, round_))
    else:
        allowed = facts.allowance(round_) if asked_until_spent(facts.recipe) else None
        request.MergeFrom(AnswerRequest(labels=facts.spec.dataset.labels["train"], budget=allowed))
    return "Answer", [request]


def train(facts: Facts, round_: int) -> Made:
    """Train from scratch on every answer so far; val labels only where they choose the checkpoint."""
    recipe, spec = facts.recipe, facts.spec
    training = recipe.training
    params = axes.training(training)
    # A parameter that would not change is not written, so that a recorded recipe keeps the bytes of its requests.
    changes = {
        key: value
        for key, value in params.in_round(round_ == recipe.budget.rounds).items()
        if getattr(params, key) != value
    }
    best = recipe.checkpoint == "best_val"
    previous = facts.trained(round_ - 1).model if params.needs().previous and round_ > 0 else None
    return "Train", [
        TrainRequest(
            context=facts.context(round_, "train"),
            manifest=facts.manifest(round_),
            ledgers=facts.ledgers(round_),
            shards=facts.shards(round_),
            architecture=recipe.model.axis.message(),
            classes=len(spec.class_names),
            pretrained=spec.pretrained if spec.HasField("pretrained") else None,
            training=training.message(**changes),
            checkpoint_policy=recipe.checkpoint,
            val_labels=evaluation_set.labels(facts, "val") if best else None,
            seed=facts.seed(round_, "train"),
            previous=previous,
            acquisition_model="last" if recipe.acquires_last else "",
        )
    ]


def evaluate(facts: Facts, round_: int) -> Made:
    """Evaluate the round's model on each split, one job per shard; each request has the labels of its split alone."""
    ranges = [one for split in facts.recipe.evaluate for one in facts.ranges(split)]
    return "Evaluate", [
        EvaluateRequest(
            context=facts.context(round_, "evaluate", index),
            manifest=facts.manifest(round_),
            images=images,
            labels=evaluation_set.labels(facts, images.split),
            model=facts.reported(round_),
        )
        for index, images in enumerate(ranges)
    ]


BUILDERS: dict[str, Callable[[Facts, int], Made]] = {
    "partition": partition,
    "discriminate": discriminate,
    "score": score,
    "featurize": embedding.featurize,
    "fit": embedding.fit,
    "shortlist": shortlist,
    "candidates": embedding.candidates,
    "project": embedding.project,
    "select": select,
    "ask": people.ask,
    "collect": people.collect,
    "label": label,
    "train": train,
    "evaluate": evaluate,
    growing.STEP: growing.take,
    growing.GIVEN: growing.given,
    "val_partition": evaluation_set.partition,
    "val_select": evaluation_set.select,
    "val_ask": evaluation_set.ask,
    evaluation_set.COLLECT: evaluation_set.collect,
    "val_label": evaluation_set.label,
}
"""Step name → the method and requests of its jobs."""
