"""Which embedding spaces a recipe can have, given its model and its training."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.acquisition import FEATURES
from tessera.loop import axes
from tessera.loop.recipe import Embedding, Recipe
from tessera.models import ARCHITECTURES, Offer


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield one clause, with its reason and remedy, for each part of the space that is not provided."""
    embedding = recipe.selection.embedding
    model = recipe.model.axis
    offers = ARCHITECTURES.entry(model.name).traits.offers(axes.parameters(ARCHITECTURES, model))
    training = axes.training(recipe.training)
    tap = training.bank_tap()
    if tap is not None:
        if not training.trains_on_bank() and (embedding is None or embedding.fit_on != "bank"):
            yield "training.memory_bank: nothing reads it; remove it, or set selection.embedding.fit_on to bank"
        if tap == "projection" and "projection_head" not in offers:
            yield (
                "training.memory_bank.tap: projection, but the model has no projection head; "
                "set model.projection_head, or tap decoder"
            )
    if embedding is not None:
        yield from _features(recipe, embedding, offers)
        yield from _bank(embedding, tap)


def _features(recipe: Recipe, embedding: Embedding, offers: frozenset[Offer]) -> Iterator[str]:
    where, params = "selection.embedding.features", axes.parameters(FEATURES, embedding.features)
    traits = FEATURES.entry(embedding.features.name).traits
    missing = traits.needs_offers(params) - offers
    if "projection_head" in missing:
        yield f"{where}: projection, but the model has no such head; set model.projection_head, or use decoder"
    elif traits.needs_trained_projection(params) and not axes.training(recipe.training).trains_projection():
        yield (
            f"{where}: projection, but training {recipe.training.name} does not train the projection head; "
            "use decoder, or accept random vectors with untrained: true"
        )
    if "last_convolution" in missing:
        yield f"{where}.layer: last_convolution, but the model does not have it; set model.last_convolution: true"


def _bank(embedding: Embedding, tap: str | None) -> Iterator[str]:
    if embedding.fit_on != "bank":
        return
    features = embedding.features
    space = FEATURES.entry(features.name).traits.bank(axes.parameters(FEATURES, features))
    if space is None:
        yield (
            f"selection.embedding.fit_on: bank, but features {features.name} with these parameters exist for regions "
            "only, not for pixels, so no bank lies in their space; use projection, decoder, aspp without grid or "
            "backbone with context: image"
        )
    elif tap is None:
        yield (
            f"selection.embedding.fit_on: bank, but the training fills none; add training.memory_bank: {{tap: {space}}}"
        )
    elif tap != space:
        yield (
            f"training.memory_bank.tap: {tap}, but the features of regions are {features.name}; set it to {space}, "
            "so that both lie in one space"
        )
