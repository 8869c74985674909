"""``tessera demo``: methods × seeds on one data set and one store, so that work they share is done once."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.cli import compare, folder, weights
from tessera.cli.output import RESUME_HINT, note, say
from tessera.cli.run import Request, drive, open_stack_store, plan, submission
from tessera.cli.stack import Stack
from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.cli.folder import RunFile
    from tessera.loop.recipe import Recipe
    from tessera.reporting import RunReport


METHODS = ("street_random", "street_meal", "street_multi_class")
OVER = "clicks"
"""Masks and sets of classes have nothing else in common that a budget could count."""
_SHORT = "budget.rounds=2"
"""Three rounds in place of five keep the demo within four minutes. The arms are compared where all of them have been,
and masks have by then spent what sets of classes spend in a whole run."""
_SHORTER = {"street_multi_class": ("training.epochs=4",)}
"""Its two stages take half of the demo's time: 4 epochs each in place of 6, for the same reason."""


def run(out: Path, seeds: int, methods: Sequence[str] = METHODS, settings: Sequence[str] = ()) -> None:
    """Run every method with seeds 0 … ``seeds``-1, print table, curve and verdict at equal clicks, and write
    ``OUT/report.html``. ``settings`` change every recipe.
    """
    from tessera.cli.pictures import write_comparison

    if len(methods) < 2:
        raise BadInput("demo: give at least two recipes, one of them with random selection")
    started = time.monotonic()
    planned = plans(seeds, methods, settings)
    gathered: list[RunReport] = []
    with folder.locked(out):
        command = line(out, seeds, methods, settings)
        RESUME_HINT.append(command)
        with Stack(out / "stack") as stack:
            for index, (recipe, wanted) in enumerate(planned, 1):
                note(f"[{index}/{len(planned)}] {recipe.recipe}, seed {wanted.seed}")
                gathered.append(_one(stack, out, recipe, wanted))
        RESUME_HINT.clear()
    say()
    summaries = [dict(each.summary) for each in gathered]
    over = common(summaries)
    for text in compare.lines(summaries, over=over):
        say(text)
    report = write_comparison(out, gathered, {"command": command, "runs": str((out / "runs").resolve())}, over)
    say()
    say(f"report   {report}")
    say(f"runs     {out / 'runs'} (summary.json, selections, report.html of each)")
    say(f"data     {out / 'data'}")
    say(f"your own data: tessera run street_meal --data FOLDER (took {time.monotonic() - started:.0f} s)")


def plans(seeds: int, methods: Sequence[str], settings: Sequence[str]) -> list[tuple[Recipe, RunFile]]:
    """Return the runs in the order in which they are made; BadInput when their data sets differ."""
    planned = [
        plan(Request(name, seed=seed, settings=(_SHORT, *_SHORTER.get(name, ()), *settings)))
        for seed in range(seeds)
        for name in methods
    ]
    if len({recipe.dataset.model_dump_json() for recipe, _ in planned}) > 1:
        raise BadInput("demo: the recipes name different data sets; they cannot be compared")
    return planned


def line(out: Path, seeds: int, methods: Sequence[str], settings: Sequence[str]) -> str:
    """Return the command that makes, or goes on with, this demo."""
    words = ["tessera", "demo", "--out", str(out), "--seeds", str(seeds)]
    words += [] if tuple(methods) == METHODS else ["--methods", ",".join(methods)]
    words += [word for one in settings for word in ("--set", one)]
    return shlex.join(words)


def common(summaries: Sequence[dict[str, Any]]) -> str | None:
    """Return ``OVER`` where the runs share a range of it, else None: each run is then shown at its own rounds."""
    from tessera.reporting import compare as compared

    try:
        compared(summaries, OVER)
    except BadInput as error:
        note(str(error))
        return None
    return OVER


def _one(stack: Stack, out: Path, recipe: Recipe, wanted: RunFile) -> RunReport:
    from tessera.cli.pictures import gather

    place = out / "runs" / wanted.run_id
    with folder.locked(place):
        record = folder.claim(place, wanted)
        record.save(place)
        pretrained = weights.find(recipe.model.pretrained, recipe.model.axis.name)

        async def work() -> RunReport:
            spec = await submission(stack, place, record, recipe, pretrained, out / "data")
            view, summary = await drive(stack, place, record, spec)
            return await gather(open_stack_store(stack), view, summary)

        return asyncio.run(work())
