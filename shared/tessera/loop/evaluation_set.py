"""The random evaluation set that a run asks for before anything else, where its data set has no labelled val images.

val_partition → val_select → [val_ask → val_collect] → val_label, in round 0. Its images were set aside from train when
the run was submitted, as split val of the run's manifest: whoever selects, scores, projects or trains reads train.
Masks of whole images are asked for, by the recipe's oracle where that is people, else from the truth. They are no
part of any budget.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from tessera.loop import people
from tessera.loop.recipe import Recipe
from tessera.pb.common_pb2 import AxisValue, ObjectRef, RegionShard
from tessera.pb.oracle_pb2 import AnswerRequest, AnswerResponse
from tessera.pb.partitioner_pb2 import PartitionRequest, PartitionResponse
from tessera.pb.questions_pb2 import CollectRequest, CollectResponse
from tessera.pb.runs_pb2 import RunSpec
from tessera.pb.scorer_pb2 import AskRequest, AskResponse
from tessera.pb.selector_pb2 import Budget, SelectRequest, SelectResponse
from tessera.queries import FORMATS
from tessera.regions import PARTITIONS
from tessera.registry import canonical_json

if TYPE_CHECKING:
    from tessera.loop.embedding import Made
    from tessera.loop.facts import Facts

SPLIT: Final = "val"
COLLECT: Final = people.COLLECTS[1]


def wanted(recipe: Recipe, spec: RunSpec) -> bool:
    """Return whether the run asks for its evaluation set."""
    return recipe.evaluation is not None and SPLIT in recipe.evaluate and SPLIT not in spec.dataset.labels


def chosen(image_ids: Iterable[str], images: int, seed: int) -> set[str]:
    """Return ``images`` random ids: those whose SHA-256 with the seed is smallest, whatever the order of the ids."""
    return set(sorted(image_ids, key=lambda one: hashlib.sha256(f"{seed}/{one}".encode()).digest())[:images])


def steps(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the steps, in order."""
    asked = ("val_ask", COLLECT) if people.asked(recipe) else ()
    return ("val_partition", "val_select", *asked, "val_label")


def partition(facts: Facts, round_: int) -> Made:
    """Make a region of every image."""
    whole = _value("image", PARTITIONS.parameters("image", {}).model_dump(mode="json"))
    return "Partition", [
        PartitionRequest(
            context=facts.context(round_, "val_partition", index),
            manifest=facts.spec.dataset.manifest,
            images=images,
            partition=whole,
        )
        for index, images in enumerate(facts.ranges(SPLIT))
    ]


def select(facts: Facts, round_: int) -> Made:
    """Choose all of them."""
    return "Select", [
        SelectRequest(
            context=facts.context(round_, "val_select"),
            shards=_shards(facts),
            stages=[_value("all", {})],
            budget=Budget(unit="regions", amount=facts.spec.split_sizes[SPLIT]),
            seed=facts.seed(0, "evaluation"),
        )
    ]


def ask(facts: Facts, round_: int) -> Made:
    """Draw up the questions; there is no model yet."""
    return "Ask", [
        AskRequest(
            context=facts.context(round_, "val_ask"),
            manifest=facts.spec.dataset.manifest,
            shards=_shards(facts),
            selection=_selection(facts),
            query=_query(facts),
            seed=facts.seed(0, "evaluation"),
            superpixels=people.params(facts.recipe).superpixels,
        )
    ]


def collect(facts: Facts, round_: int) -> Made:
    """Ask people for every mask."""
    (made,) = facts.results(0, "val_ask", AskResponse)
    return people.COLLECT, [
        CollectRequest(
            context=facts.context(round_, COLLECT),
            questions=made.questions,
            manifest=facts.spec.dataset.manifest,
            query=_query(facts),
            oracle=facts.recipe.oracle.message(),
        )
    ]


def label(facts: Facts, round_: int) -> Made:
    """Turn the masks into the label maps of val."""
    request = AnswerRequest(
        context=facts.context(round_, "val_label"),
        manifest=facts.spec.dataset.manifest,
        shards=_shards(facts),
        selection=_selection(facts),
        query=_query(facts),
        seed=facts.seed(0, "evaluation"),
        labels_of=SPLIT,
    )
    if people.asked(facts.recipe):
        (said,) = facts.results(0, COLLECT, CollectResponse)
        request.MergeFrom(AnswerRequest(answers=said.answers, oracle=facts.recipe.oracle.message()))
    else:
        truth = facts.spec.dataset.labels["train"]
        request.MergeFrom(AnswerRequest(labels=truth, oracle=_value("simulated", {})))
    return "Answer", [request]


def labels(facts: Facts, split: str) -> ObjectRef:
    """Return the label manifest of a split that is measured."""
    if split == SPLIT and wanted(facts.recipe, facts.spec):
        return facts.results(0, "val_label", AnswerResponse)[0].labels
    return facts.spec.dataset.labels[split]


def _shards(facts: Facts) -> list[RegionShard]:
    return [one.shard for one in facts.results(0, "val_partition", PartitionResponse)]


def _selection(facts: Facts) -> ObjectRef:
    return facts.results(0, "val_select", SelectResponse)[0].selection


def _query(facts: Facts) -> AxisValue:
    """Return the recipe's query where it is for masks, with its prices; else that query's defaults."""
    if facts.recipe.query.name == "mask":
        return facts.recipe.query.message()
    return _value("mask", FORMATS.parameters("mask", {}).model_dump(mode="json"))


def _value(name: str, parameters: dict[str, object]) -> AxisValue:
    return AxisValue(name=name, parameters=canonical_json(parameters))
