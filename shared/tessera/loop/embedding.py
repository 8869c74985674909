"""The request messages of the steps that make an embedding; none of them carries labels."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from tessera.loop.facts import Facts
from tessera.loop.recipe import Embedding
from tessera.pb.common_pb2 import ModelRef, ObjectRef, RegionShard
from tessera.pb.embedder_pb2 import FeaturizeRequest, FitRequest, FitResponse, ProjectRequest

Made = tuple[str, Sequence[Message]]
"""A method's name and the requests of its jobs."""


def featurize(facts: Facts, round_: int) -> Made:
    """Describe every region of the pool: for a projection that is fitted once, or by the head of the round before."""
    embedding = _embedding(facts)
    model = facts.describing(round_ - 1) if embedding.refits else _first_model(facts)
    targets = [(shard.regions, [shard]) for shard in facts.shards(round_)]
    return "Featurize", _featurize(facts, round_, "featurize", model, targets)


def candidates(facts: Facts, round_: int) -> Made:
    """Describe the shortlist (or, without one, the pool) with the model of the round before.

    A stage that measures distances to labelled regions has those described as well.
    """
    shortlist = facts.shortlist(round_)
    targets = [(shard.regions, [shard]) for shard in facts.shards(round_)]
    if shortlist is not None:
        targets = [(shortlist, facts.shards(round_))]
        if facts.recipe.selection.needs_labelled:
            # Distances to labelled regions: they are described by the same model (without a shortlist everything is).
            targets += [(ledger, facts.shards(round_)) for ledger in facts.answered_before(round_)]
    return "Featurize", _featurize(facts, round_, "candidates", facts.describing(round_ - 1), targets)


def _embedding(facts: Facts) -> Embedding:
    embedding = facts.recipe.selection.embedding
    assert embedding is not None  # noqa: S101  # the planner starts these steps only with one
    return embedding


def _first_model(facts: Facts) -> ModelRef:
    """Return the pretrained backbone; without one (a random start asked for by name) the first trained model stands in.

    A backbone alone has no head: its reference says 0 classes.
    """
    if not facts.spec.HasField("pretrained"):
        return facts.describing(0)
    return ModelRef(architecture=facts.recipe.model.axis.message(), classes=0, weights=facts.spec.pretrained)


def _featurize(
    facts: Facts, round_: int, step: str, model: ModelRef, targets: Sequence[tuple[ObjectRef, Sequence[RegionShard]]]
) -> list[FeaturizeRequest]:
    embedding = _embedding(facts)
    return [
        FeaturizeRequest(
            context=facts.context(round_, step, index),
            manifest=facts.manifest(round_),
            model=model,
            features=embedding.features.message(),
            targets=table,
            shards=shards,
        )
        for index, (table, shards) in enumerate(targets)
    ]


def fit(facts: Facts, round_: int) -> Made:
    """Fit the projection: on the pool, or each round on its candidates or on the memory bank of the round before."""
    embedding = _embedding(facts)
    if embedding.fit_on == "bank":
        return "Fit", [
            FitRequest(
                context=facts.context(round_, "fit"),
                bank=facts.left_by(round_ - 1, "memory_bank"),
                projection=embedding.projection.message(),
                seed=facts.seed(round_, "fit"),
            )
        ]
    source = "featurize" if embedding.fit_on == "pool" else "candidates"
    return "Fit", [
        FitRequest(
            context=facts.context(round_, "fit"),
            shards=facts.features(round_, source),
            projection=embedding.projection.message(),
            seed=facts.seed(round_, "fit"),
        )
    ]


def project(facts: Facts, round_: int) -> Made:
    """Put the candidates through the projection that was fitted on the pool, or this round on the memory bank."""
    embedding = _embedding(facts)
    fitted = round_ if embedding.fit_on == "bank" else 1
    return "Project", [
        ProjectRequest(
            context=facts.context(round_, "project"),
            projection=facts.results(fitted, "fit", FitResponse)[0].projection,
            shards=facts.features(round_, "candidates"),
            seed=facts.seed(round_, "project"),
        )
    ]
