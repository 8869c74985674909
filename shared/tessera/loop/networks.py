"""Requirements of score columns: further passes of the model, and auxiliary networks.

An auxiliary network is trained before scoring, by step discriminate, unless the training method leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tessera.acquisition import SCORES
from tessera.acquisition.traits import ScoreTraits
from tessera.loop import axes
from tessera.loop.recipe import Recipe, ScoreChoice
from tessera.models import ARCHITECTURES, Offer
from tessera.pb.common_pb2 import AxisValue


@dataclass(frozen=True)
class Auxiliary:
    """A network to train before scoring: its name with the score's parameters, and whether it reads the model."""

    axis: AxisValue
    needs_model: bool


def auxiliaries(recipe: Recipe) -> list[Auxiliary]:
    """Return the networks to train before scoring, in the order of the columns; equal parameters share one."""
    trained = axes.training(recipe.training).auxiliaries()
    return [one for one in _read(recipe) if one.axis.name not in trained]


def left_by_training(recipe: Recipe) -> list[AxisValue]:
    """Return the networks that the recipe's columns read and its training leaves, in the order of the columns."""
    trained = axes.training(recipe.training).auxiliaries()
    return [one.axis for one in _read(recipe) if one.axis.name in trained]


def _read(recipe: Recipe) -> list[Auxiliary]:
    found: dict[tuple[str, str], Auxiliary] = {}
    for score in recipe.score:
        traits = _traits(score)
        if name := traits.needs_auxiliary:
            parameters = score.axis.message().parameters
            axis = AxisValue(name=name, parameters=parameters)
            found.setdefault((name, parameters), Auxiliary(axis, traits.needs_model))
    return list(found.values())


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield one clause for each problem of a column that needs more than one plain pass."""
    model = recipe.model.axis
    offers = ARCHITECTURES.entry(model.name).traits.offers(axes.parameters(ARCHITECTURES, model))
    for index, score in enumerate(recipe.score):
        if _passes(score) == "dropout" and "mc_dropout" not in offers:
            yield (
                f"score.{index}: {score.axis.name} compares passes with dropout in the decoder, and the model "
                "has no dropout there; "
                "set model.mc_dropout (0.1 in the Best-Practices study)"
            )
    if ARCHITECTURES.entry(model.name).traits.whole_images and recipe.partition.name != "image":
        yield (
            f"model: {model.name} classifies whole images, and partition {recipe.partition.name} asks about parts of "
            "them; use partition image, or a network that segments"
        )
    yield from _of_training(recipe, offers)
    low = {score.column for score in recipe.score if _traits(score).low_is_worth_asking}
    for place, stages in (("shortlist", recipe.selection.shortlist), ("stages", recipe.selection.stages)):
        for index, stage in enumerate(stages):
            by = stage.parameters.get("by")
            if by in low and stage.parameters.get("descending", True):
                yield (
                    f"selection.{place}.{index}: {stage.name} takes the highest {by}, but those regions look "
                    "labelled; set descending: false"
                )


def _of_training(recipe: Recipe, offers: frozenset[Offer]) -> Iterator[str]:
    """Yield the problems of the network, and of scores that read artefacts, with the training method."""
    method, params = recipe.training.name, axes.training(recipe.training)
    if params.needs_prototypes() and "prototypes" not in offers:
        yield (
            f"training: {method} compares features with prototypes, and the classifier of {recipe.model.axis.name} is "
            "linear; set model.temperature (0.05 in minimax entropy)"
        )
    if params.decodes_cells() and "cells" not in offers:
        yield (
            f"training.decode: {recipe.model.axis.name} has no decoder that works at some cells alone; set it to "
            "whole, or use a deeplabv3plus network"
        )
    trained = params.auxiliaries()
    for index, score in enumerate(recipe.score):
        name = _traits(score).needs_auxiliary
        if name not in trained:
            continue
        plain = SCORES.parameters(score.axis.name, {}).model_dump(mode="json") | dict(trained[name])
        for key, value in score.axis.parameters.items():
            if value != plain[key]:
                yield (
                    f"score.{index}: {score.axis.name}.{key} is {value}, but training {method} trains the {name} "
                    f"itself; set it to {plain[key]}, and see training.{name}"
                )
        if recipe.partition.name != "image":
            yield (
                f"score.{index}: the {name} of training {method} judges whole images; use partition image, or another "
                "training"
            )
        if recipe.checkpoint == "best_val" and not recipe.acquires_last:
            yield (
                f"acquisition_model: kept, but the {name} of training {method} belongs to the last epoch; set it to "
                "last"
            )


def _passes(score: ScoreChoice) -> str:
    passes = _traits(score).passes(axes.parameters(SCORES, score.axis))
    return "plain" if passes is None else passes.kind


def _traits(score: ScoreChoice) -> ScoreTraits:
    return SCORES.entry(score.axis.name).traits
