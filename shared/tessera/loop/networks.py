"""Networks that score columns need: further passes of the model, and auxiliary networks trained before scoring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tessera.acquisition import SCORES
from tessera.acquisition.traits import ScoreTraits
from tessera.loop import axes
from tessera.loop.recipe import Recipe, ScoreChoice
from tessera.models import ARCHITECTURES
from tessera.pb.common_pb2 import AxisValue


@dataclass(frozen=True)
class Auxiliary:
    """A network to train before scoring: its name with the score's parameters, and whether it reads the model."""

    axis: AxisValue
    needs_model: bool


def auxiliaries(recipe: Recipe) -> list[Auxiliary]:
    """Networks that the recipe's columns read, in their order; columns with equal parameters share one."""
    found: dict[tuple[str, str], Auxiliary] = {}
    for score in recipe.score:
        traits = _traits(score)
        if name := traits.needs_auxiliary:
            parameters = score.axis.message().parameters
            axis = AxisValue(name=name, parameters=parameters)
            found.setdefault((name, parameters), Auxiliary(axis, traits.needs_model))
    return list(found.values())


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with the columns that need more than one plain pass."""
    model = recipe.model.axis
    offers = ARCHITECTURES.entry(model.name).traits.offers(axes.parameters(ARCHITECTURES, model))
    for index, score in enumerate(recipe.score):
        if _passes(score) == "dropout" and "mc_dropout" not in offers:
            yield (
                f"score.{index}: {score.axis.name} compares passes with dropout in the decoder, and the model "
                "has no dropout there; "
                "set model.mc_dropout (0.1 in the Best-Practices study)"
            )
    low = {score.column for score in recipe.score if _traits(score).low_is_worth_asking}
    for place, stages in (("shortlist", recipe.selection.shortlist), ("stages", recipe.selection.stages)):
        for index, stage in enumerate(stages):
            by = stage.parameters.get("by")
            if by in low and stage.parameters.get("descending", True):
                yield (
                    f"selection.{place}.{index}: {stage.name} takes the highest {by}, but those regions look "
                    "labelled; set descending: false"
                )


def _passes(score: ScoreChoice) -> str:
    passes = _traits(score).passes(axes.parameters(SCORES, score.axis))
    return "plain" if passes is None else passes.kind


def _traits(score: ScoreChoice) -> ScoreTraits:
    return SCORES.entry(score.axis.name).traits
