"""Which questions a recipe can ask, who can answer them, and whether anything can be learnt from the answers."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.acquisition import STAGES
from tessera.loop import axes
from tessera.loop.recipe import Recipe
from tessera.queries import FORMATS, ORACLES, FormatTraits
from tessera.training import METHODS


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield one clause, with its reason and remedy, for each pairing of query, oracle, budget and training at odds."""
    asked, budget = FORMATS.entry(recipe.query.name).traits, recipe.budget
    if asked.whole_image and recipe.partition.name != "image":
        yield (
            f"query: {recipe.query.name} asks about whole images, but partition {recipe.partition.name} cuts "
            "images into parts; "
            "use partition image, or query mask"
        )
    if ORACLES.entry(recipe.oracle.name).traits.needs_choice and asked.choice is None:
        yield (
            f"oracle: {recipe.oracle.name} makes mistakes in named classes, but query {recipe.query.name} is answered "
            "pixel by pixel; use boundary_slips or confusion, or query multi_class or dominant"
        )
    if budget.unit == "images" and recipe.partition.name != "image":
        yield (
            f"budget.unit: images, but partition {recipe.partition.name} asks about parts of images; "
            "use unit regions or partition image"
        )
    for name in ("initial", "per_round"):
        amount = getattr(budget, name)
        if budget.unit == "percent" and amount is not None and amount > 100:
            yield f"budget.{name}: {amount:g} percent of the pool; give at most 100"
    yield from _learning(recipe, asked)
    yield from _undefined(recipe)


def _undefined(recipe: Recipe) -> Iterator[str]:
    """Yield the problem of a stage that leaves out undefined regions without a network that has a class for them."""
    if axes.training(recipe.training).trains_undefined():
        return
    for place, index in undefined_classes(recipe):
        yield (
            f"{place}: {index}, but training {recipe.training.name} trains no class for undefined pixels, so no region "
            "is ever predicted as one; remove it"
        )


def undefined_classes(recipe: Recipe) -> Iterator[tuple[str, int]]:
    """Yield the path of each stage's parameter that names the class undefined, and the index it gives."""
    for place, stages in (("shortlist", recipe.selection.shortlist), ("stages", recipe.selection.stages)):
        for number, stage in enumerate(stages):
            index = STAGES.entry(stage.name).traits.undefined(axes.parameters(STAGES, stage))
            if index is not None:
                yield f"selection.{place}.{number}.undefined", index


def _learning(recipe: Recipe, asked: FormatTraits) -> Iterator[str]:
    """Yield the problem of answers from which the training method cannot learn."""
    if asked.pixels != "one_class":
        return
    if (
        METHODS.entry(recipe.training.name).traits.learns_classes
        or axes.training(recipe.training).needs().without_pixels == "skip"
    ):
        return
    yield (
        f"training: {recipe.training.name} learns from answers for pixels, but query {recipe.query.name} gives these "
        "for regions of a single class only; set training.without_pixels to skip (regions of several classes are then "
        "paid for and teach nothing), or use query dominant or mask"
    )
