"""When a run ends before its budget: at a goal, or at a plateau. Judged on val, never on test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tessera import evaluation
from tessera.loop.facts import Facts
from tessera.loop.recipe import Recipe
from tessera.pb.evaluator_pb2 import EvaluateResponse


def problems(recipe: Recipe) -> Iterator[str]:
    """Yield a clause for a rule that could never end the run."""
    if recipe.stop is None:
        return
    if recipe.stop.miou is None and recipe.stop.accuracy is None and recipe.stop.plateau is None:
        yield "stop: gives neither miou nor accuracy nor plateau; add one of them, or remove stop"
    if recipe.stop.split not in recipe.evaluate:
        yield f"stop.split: {recipe.stop.split} is not measured; add it to evaluate"
    if recipe.stop.plateau is not None and recipe.stop.plateau.rounds >= max(1, recipe.budget.rounds):
        yield (
            f"stop.plateau.rounds: {recipe.stop.plateau.rounds} rounds without improvement cannot occur in a run of "
            f"{recipe.budget.rounds}; lower it"
        )


def reason(facts: Facts, last: int) -> str | None:
    """Return why the run ends after round ``last``, which is measured: ``goal_reached``, ``plateau`` or None."""
    stop = facts.recipe.stop
    if stop is None:
        return None
    found = measured(facts, last, stop.split)
    if stop.miou is not None and found.miou >= stop.miou:
        return "goal_reached"
    if stop.accuracy is not None and found.accuracy >= stop.accuracy:
        return "goal_reached"
    if stop.plateau is not None and last >= stop.plateau.rounds:
        values = [measured(facts, round_, stop.split).main for round_ in range(last + 1)]
        before, recent = values[: -stop.plateau.rounds], values[-stop.plateau.rounds :]
        if max(recent) < max(before) + stop.plateau.by or max(recent) == max(before):
            return "plateau"
    return None


class RoundQuality(NamedTuple):
    """Quality of a round on a split, in 0..1."""

    miou: float
    """Over the classes in the truth of the split."""
    accuracy: float
    """Share of pixels, or of images."""
    counts_images: bool
    """Whether images are classified, so that accuracy is the main measure."""

    @property
    def main(self) -> float:
        """Return accuracy where images are classified, else mIoU."""
        return self.accuracy if self.counts_images else self.miou


def measured(facts: Facts, round_: int, split: str) -> RoundQuality:
    """Return a round's quality on a split, from sums over all its images."""
    responses = iter(facts.results(round_, "evaluate", EvaluateResponse))
    shards: list[Any] = []
    for one in facts.recipe.evaluate:
        found = [next(responses) for _ in facts.ranges(one)]
        shards += found if one == split else []
    hits, extra, missed = (
        [sum(values) for values in zip(*(getattr(shard, name) for shard in shards), strict=True)]
        for name in ("true_positives", "false_positives", "false_negatives")
    )
    images = any(shard.counts_images for shard in shards)
    return RoundQuality(float(evaluation.miou(hits, extra, missed)), float(evaluation.accuracy(hits, missed)), images)
