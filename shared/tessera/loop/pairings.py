"""Rules between the parts of a recipe: which combinations cannot run, and why."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.acquisition import STAGES
from tessera.acquisition.interfaces import Column
from tessera.acquisition.scoring.fused_pass import is_vector
from tessera.acquisition.traits import StageTraits
from tessera.errors import BadInput
from tessera.loop import asking, axes, networks, spaces, stopping
from tessera.loop.recipe import Recipe


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield one clause, with its reason and remedy, for each pairing of the recipe that cannot run."""
    yield from _columns(recipe)
    yield from _initial(recipe)
    yield from _embedding(recipe)
    yield from spaces.problems(recipe)
    yield from networks.problems(recipe)
    yield from _budget(recipe)
    yield from asking.problems(recipe)
    yield from _checkpoint(recipe)
    yield from stopping.problems(recipe)


def _columns(recipe: Recipe) -> Iterator[str]:
    columns = [score.column for score in recipe.score]
    vectors: set[str] = set()
    for index, score in enumerate(recipe.score):
        try:
            if is_vector(Column(score.column, score.axis.name, score.aggregate.name)):
                vectors.add(score.column)
        except BadInput as error:
            yield f"score.{index}: {error}"
    for column in sorted({one for one in columns if columns.count(one) > 1}):
        yield f"score: column {column} is requested twice; remove one, or give one its own name with column"
    for column in columns:
        if _component(column, vectors):
            yield (
                f"score: column {column} is already one of the per-class columns of "
                f"{column.rpartition('_')[0]}; give it another name"
            )
    yield from _columns_read(recipe, columns, vectors)


def _columns_read(recipe: Recipe, columns: list[str], vectors: set[str]) -> Iterator[str]:
    for place, stages in (("shortlist", recipe.selection.shortlist), ("stages", recipe.selection.stages)):
        # Columns that the shortlist makes are not passed on, except as the score of its rows.
        made: list[str] = []
        for index, stage in enumerate(stages):
            where = f"selection.{place}.{index}"
            for key in ("by", *_traits(stage).columns):
                by = stage.parameters.get(key)
                if by in vectors:
                    yield f"{where}.{key}: {by!r} has one value per class; name one of them, such as {by}_0"
                elif by and by not in (*columns, *made) and not _component(by, vectors):
                    have = ", ".join([*columns, *made]) or "none"
                    yield f"{where}.{key}: {by!r} is not a requested score column (requested: {have})"
            yield from _needed(where, stage, columns, vectors)
            made += _traits(stage).makes_columns(axes.parameters(STAGES, stage))


def _needed(where: str, stage: axes.Axis, columns: list[str], vectors: set[str]) -> Iterator[str]:
    """Yield the columns that a stage reads and score does not name, with the line to add."""
    for column, (score, aggregate) in _traits(stage).needs_columns(axes.parameters(STAGES, stage)):
        vector = is_vector(Column(column, score, aggregate))
        add = f"{{name: {score}, aggregate: {aggregate}" + (
            "}" if column == f"{score}_{aggregate}" else f", column: {column}}}"
        )
        if column not in columns:
            yield f"{where}: {stage.name} needs score column {column}; add {add} to score"
        elif vector != (column in vectors):
            kind = "one value per class" if vector else "one value per region"
            yield f"{where}: {stage.name} needs {kind} in column {column}; request it as {add}"


def _component(column: str, vectors: set[str]) -> bool:
    name, _, number = column.rpartition("_")
    return name in vectors and number.isdecimal()


def _initial(recipe: Recipe) -> Iterator[str]:
    for index, stage in enumerate(recipe.selection.initial):
        where = f"selection.initial.{index}"
        if _traits(stage).needs_embedding:
            yield (
                f"{where}: {stage.name} needs an embedding, which does not exist before the first training; "
                "use random or random_images"
            )
        if _traits(stage).needs_scores or stage.parameters.get("by"):
            yield (
                f"{where}: {stage.name} orders by a score, and no model exists before the first training; use "
                "random or random_images"
            )
    if recipe.budget.initial is None and not any(_bounds(stage) for stage in recipe.selection.initial):
        yield (
            "selection.initial: nothing says how much to label first; give count or images, use {name: all}, "
            f"or set budget.initial ({recipe.budget.unit})"
        )
    if recipe.budget.rounds and any(stage.name == "all" for stage in recipe.selection.initial):
        yield f"selection.initial: all leaves nothing for {recipe.budget.rounds} rounds; set budget.rounds to 0"


def _embedding(recipe: Recipe) -> Iterator[str]:
    selection = recipe.selection
    users = [stage.name for stage in selection.stages if _traits(stage).needs_embedding]
    if users and selection.embedding is None:
        yield f"selection.embedding: missing; stage {users[0]} chooses by distance in it; add it"
    watched = selection.embedding is not None and selection.embedding.watch
    if selection.embedding is not None and not users and not watched:
        yield (
            "selection.embedding: no stage uses it; remove it, add a stage such as kmeans_plusplus, or set watch: true "
            "to show the choice in it"
        )
    if users and watched:
        yield f"selection.embedding.watch: true, but stage {users[0]} chooses by distance in it; set it to false"
    if selection.shortlist and selection.embedding is None:
        yield (
            "selection.shortlist: chooses the candidates to embed, but there is no embedding; move its stages to stages"
        )
    if selection.embedding is not None and selection.embedding.fit_on == "shortlist" and not selection.shortlist:
        yield "selection.embedding.fit_on: shortlist, but there is no selection.shortlist; add it, or fit on the pool"
    for index, stage in enumerate(selection.shortlist):
        if _traits(stage).needs_embedding:
            yield (
                f"selection.shortlist.{index}: {stage.name} needs an embedding, which is made of the "
                "shortlist afterwards; use top or random"
            )


def _budget(recipe: Recipe) -> Iterator[str]:
    budget = recipe.budget
    if budget.rounds and not recipe.selection.stages:
        yield f"selection.stages: empty, but budget.rounds is {budget.rounds}; add a stage, such as {{name: random}}"
    if budget.unit == "regions":
        for place, stages in (("shortlist", recipe.selection.shortlist), ("stages", recipe.selection.stages)):
            for index, stage in enumerate(stages):
                count = stage.parameters.get("count")
                if budget.rounds and count is not None and count < budget.per_round:
                    yield (
                        f"selection.{place}.{index}.count: {count} is less than budget.per_round "
                        f"{budget.per_round:g}; no round could fill its budget; raise it"
                    )


def _checkpoint(recipe: Recipe) -> Iterator[str]:
    if len(set(recipe.evaluate)) != len(recipe.evaluate):
        yield f"evaluate: a split is named twice ({', '.join(recipe.evaluate)}); remove one"
    if recipe.checkpoint == "best_val" and "val" not in recipe.evaluate:
        yield "checkpoint: best_val chooses by val, so val must be in evaluate; add it, or use last"


def _bounds(stage: axes.Axis) -> bool:
    return stage.name == "all" or any(stage.parameters.get(key) for key in ("count", "images", "share"))


def _traits(stage: axes.Axis) -> StageTraits:
    return STAGES.entry(stage.name).traits
