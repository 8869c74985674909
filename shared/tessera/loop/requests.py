"""The request messages of every step. Who is handed which labels is decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message

from tessera.loop import axes, networks
from tessera.loop.budget import asked_until_spent, offered, remaining
from tessera.loop.facts import Facts
from tessera.loop.recipe import Recipe, from_canonical
from tessera.loop.seeds import derive
from tessera.pb.common_pb2 import JobContext, ModelRef, ObjectRef, RegionShard
from tessera.pb.embedder_pb2 import FeaturizeRequest, FitRequest, FitResponse, ProjectRequest
from tessera.pb.evaluator_pb2 import EvaluateRequest
from tessera.pb.oracle_pb2 import AnswerRequest
from tessera.pb.partitioner_pb2 import PartitionRequest
from tessera.pb.runs_pb2 import RunSpec
from tessera.pb.scorer_pb2 import ScoreColumn, ScoreRequest
from tessera.pb.selector_pb2 import Budget, SelectRequest
from tessera.pb.trainer_pb2 import DiscriminateRequest, TrainRequest

Made = tuple[str, Sequence[Message]]


def recipe_of(spec: RunSpec) -> Recipe:
    """Read the recipe a run carries."""
    return from_canonical(spec.recipe)


def _context(facts: Facts, round_: int, step: str, shard: int = 0) -> JobContext:
    return JobContext(run_id=facts.spec.run_id, round=round_, step=step, shard=shard)


def _seed(facts: Facts, round_: int, purpose: str) -> int:
    return derive(facts.spec.seed, round_, purpose)


def partition(facts: Facts, round_: int) -> Made:
    """Cut the training pool into regions, a job a shard."""
    return "Partition", [
        PartitionRequest(
            context=_context(facts, round_, "partition", index),
            manifest=facts.spec.dataset.manifest,
            images=images,
            partition=facts.recipe.partition.message(),
        )
        for index, images in enumerate(facts.ranges("train"))
    ]


def discriminate(facts: Facts, round_: int) -> Made:
    """Train the auxiliary networks that the columns read, a job each, on which regions have an answer so far."""
    return "Discriminate", [
        DiscriminateRequest(
            context=_context(facts, round_, "discriminate", index),
            manifest=facts.spec.dataset.manifest,
            ledgers=facts.ledgers(round_ - 1),
            shards=facts.shards,
            model=facts.trained(round_ - 1).model if one.needs_model else None,
            auxiliary=one.axis,
            seed=_seed(facts, round_, "discriminate"),
        )
        for index, one in enumerate(networks.auxiliaries(facts.recipe))
    ]


def score(facts: Facts, round_: int) -> Made:
    """Score the pool with the model of the round before, a job a shard."""
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
            context=_context(facts, round_, "score", index),
            manifest=facts.spec.dataset.manifest,
            shard=shard,
            model=model,
            columns=columns,
            seed=_seed(facts, round_, "score"),
            auxiliary=facts.auxiliary(round_),
        )
        for index, shard in enumerate(facts.shards)
    ]


def featurize(facts: Facts, round_: int) -> Made:
    """Describe every region of the pool: for a projection that is fitted once, or by the head of the round before."""
    embedding = facts.recipe.selection.embedding
    assert embedding is not None  # noqa: S101
    model = facts.trained(round_ - 1).model if embedding.refits else _first_model(facts)
    targets = [(shard.regions, [shard]) for shard in facts.shards]
    return "Featurize", _featurize(facts, round_, "featurize", model, targets)


def candidates(facts: Facts, round_: int) -> Made:
    """Describe the shortlist (or, without one, the pool) with the model of the round before.

    A stage that measures distances to labelled regions has those described as well.
    """
    shortlist = facts.shortlist(round_)
    targets = [(shard.regions, [shard]) for shard in facts.shards]
    if shortlist is not None:
        targets = [(shortlist, facts.shards)]
        if facts.recipe.selection.needs_labelled:
            # Distances to labelled regions: they are described by the same model (without a shortlist everything is).
            targets += [(ledger, facts.shards) for ledger in facts.ledgers(round_ - 1)]
    return "Featurize", _featurize(facts, round_, "candidates", facts.trained(round_ - 1).model, targets)


def _first_model(facts: Facts) -> ModelRef:
    """The pretrained backbone; without one (a random start asked for by name) the first trained model stands in.

    A backbone alone has no head: its reference says 0 classes.
    """
    if not facts.spec.HasField("pretrained"):
        return facts.trained(0).model
    return ModelRef(architecture=facts.recipe.model.axis.message(), classes=0, weights=facts.spec.pretrained)


def _featurize(
    facts: Facts, round_: int, step: str, model: ModelRef, targets: Sequence[tuple[ObjectRef, Sequence[RegionShard]]]
) -> list[FeaturizeRequest]:
    embedding = facts.recipe.selection.embedding
    assert embedding is not None  # noqa: S101  # the planner starts this step only with one
    return [
        FeaturizeRequest(
            context=_context(facts, round_, step, index),
            manifest=facts.spec.dataset.manifest,
            model=model,
            features=embedding.features.message(),
            targets=table,
            shards=shards,
        )
        for index, (table, shards) in enumerate(targets)
    ]


def fit(facts: Facts, round_: int) -> Made:
    """Fit the projection: on the pool, or each round on its candidates or on the memory bank of the round before."""
    embedding = facts.recipe.selection.embedding
    assert embedding is not None  # noqa: S101
    if embedding.fit_on == "bank":
        return "Fit", [
            FitRequest(
                context=_context(facts, round_, "fit"),
                bank=facts.left_by(round_ - 1, "memory_bank"),
                projection=embedding.projection.message(),
                seed=_seed(facts, round_, "fit"),
            )
        ]
    source = "featurize" if embedding.fit_on == "pool" else "candidates"
    return "Fit", [
        FitRequest(
            context=_context(facts, round_, "fit"),
            shards=facts.features(round_, source),
            projection=embedding.projection.message(),
            seed=_seed(facts, round_, "fit"),
        )
    ]


def project(facts: Facts, round_: int) -> Made:
    """Put the candidates through the projection that was fitted on the pool, or this round on the memory bank."""
    embedding = facts.recipe.selection.embedding
    assert embedding is not None  # noqa: S101
    fitted = round_ if embedding.fit_on == "bank" else 1
    return "Project", [
        ProjectRequest(
            context=_context(facts, round_, "project"),
            projection=facts.results(fitted, "fit", FitResponse)[0].projection,
            shards=facts.features(round_, "candidates"),
            seed=_seed(facts, round_, "project"),
        )
    ]


def shortlist(facts: Facts, round_: int) -> Made:
    """Choose what gets embedded; the stages' own count bounds it, not the round's budget."""
    left = remaining("regions", facts.pool, facts.costs(round_ - 1))
    return "Select", [
        SelectRequest(
            context=_context(facts, round_, "shortlist"),
            shards=facts.shards,
            scores=facts.scores(round_),
            ledgers=facts.ledgers(round_ - 1),
            stages=[stage.message() for stage in facts.recipe.selection.shortlist],
            budget=Budget(unit="regions", amount=left),
            seed=_seed(facts, round_, "shortlist"),
            manifest=_times(facts, facts.recipe.selection.shortlist),
        )
    ]


def _times(facts: Facts, stages: Sequence[axes.Axis], constraints: Sequence[axes.Axis] = ()) -> ObjectRef | None:
    """The manifest, where sequences and times are looked at; a selection without it is the same for any data set."""
    looks = [axes.entry(axes.STAGES, one) for one in stages] + [
        axes.entry(axes.CONSTRAINTS, one) for one in constraints
    ]
    return facts.spec.dataset.manifest if any(one.traits.get("needs_times", False) for one in looks) else None


def select(facts: Facts, round_: int) -> Made:
    """Choose the round's regions; round 0 uses the initial stages, which say themselves how many.

    Where prices come with the answers this is a ranking to ask in, longer than what is then asked (``label``).
    """
    selection, allowed = facts.recipe.selection, facts.allowance(round_)
    request = SelectRequest(
        context=_context(facts, round_, "select"), shards=facts.shards, seed=_seed(facts, round_, "select")
    )
    if round_ == 0:
        everything = Budget(unit="regions", amount=facts.pool.regions)
        request.stages.extend(stage.message() for stage in selection.initial)
        request.MergeFrom(SelectRequest(manifest=_times(facts, selection.initial)))
        request.budget.CopyFrom(offered(allowed, facts.recipe) if allowed is not None else everything)
        return "Select", [request]
    assert allowed is not None  # noqa: S101  # every round but the first has a budget
    request.stages.extend(stage.message() for stage in selection.stages)
    request.constraints.extend(one.message() for one in selection.constraints)
    request.MergeFrom(SelectRequest(manifest=_times(facts, selection.stages, selection.constraints)))
    request.budget.CopyFrom(offered(allowed, facts.recipe))
    request.scores.extend(facts.scores(round_))
    request.ledgers.extend(facts.ledgers(round_ - 1))
    chosen_from, embedding = facts.shortlist(round_), facts.embedding(round_)
    if chosen_from is not None:
        request.candidates.CopyFrom(chosen_from)
    if embedding is not None:
        request.embedding.CopyFrom(embedding)
    return "Select", [request]


def label(facts: Facts, round_: int) -> Made:
    """Ask the questions. The only request that carries train labels."""
    return "Answer", [
        AnswerRequest(
            context=_context(facts, round_, "label"),
            manifest=facts.spec.dataset.manifest,
            shards=facts.shards,
            selection=facts.selected(round_).selection,
            labels=facts.spec.dataset.labels["train"],
            query=facts.recipe.query.message(),
            oracle=facts.recipe.oracle.message(),
            seed=_seed(facts, round_, "label"),
            budget=facts.allowance(round_) if asked_until_spent(facts.recipe) else None,
        )
    ]


def train(facts: Facts, round_: int) -> Made:
    """Train from scratch on every answer so far; val labels only where they choose the checkpoint."""
    recipe, spec = facts.recipe, facts.spec
    training = recipe.training
    changes: dict[str, Any] = {}
    if "final_epochs" in training.parameters:
        # The method is told how long to train, not which round this is: equal trainings share a job key.
        last = training.parameters["final_epochs"] if round_ == recipe.budget.rounds else None
        changes = {"epochs": last or training.parameters["epochs"], "final_epochs": None}
    best = recipe.checkpoint == "best_val"
    return "Train", [
        TrainRequest(
            context=_context(facts, round_, "train"),
            manifest=spec.dataset.manifest,
            ledgers=facts.ledgers(round_),
            shards=facts.shards,
            architecture=recipe.model.axis.message(),
            classes=len(spec.class_names),
            pretrained=spec.pretrained if spec.HasField("pretrained") else None,
            training=training.message(**changes),
            checkpoint_policy=recipe.checkpoint,
            val_labels=spec.dataset.labels["val"] if best else None,
            seed=_seed(facts, round_, "train"),
        )
    ]


def evaluate(facts: Facts, round_: int) -> Made:
    """Measure the round's model on each split, a job a shard; each request holds the labels of its split alone."""
    ranges = [one for split in facts.recipe.evaluate for one in facts.ranges(split)]
    return "Evaluate", [
        EvaluateRequest(
            context=_context(facts, round_, "evaluate", index),
            manifest=facts.spec.dataset.manifest,
            images=images,
            labels=facts.spec.dataset.labels[images.split],
            model=facts.trained(round_).model,
        )
        for index, images in enumerate(ranges)
    ]


BUILDERS: dict[str, Callable[[Facts, int], Made]] = {
    "partition": partition,
    "discriminate": discriminate,
    "score": score,
    "featurize": featurize,
    "fit": fit,
    "shortlist": shortlist,
    "candidates": candidates,
    "project": project,
    "select": select,
    "label": label,
    "train": train,
    "evaluate": evaluate,
}
"""Step name → the method and requests of its jobs."""
