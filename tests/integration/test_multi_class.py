"""A run by sets of classes, end to end: two stages, undefined left out of choice and measure, pseudo labels drawn."""

from __future__ import annotations

import pytest

from integration.loop import summary, tessera

TREE = "dataset.parameters={height: 64, width: 96, train: 2, val: 1, test: 1, frames: 3, seed: 3}"


@pytest.mark.full
def test_the_street_recipe_asks_trains_measures_and_draws(tmp_path):
    out = tmp_path / "out"
    budget = "budget={unit: clicks, initial: 30, per_round: 20, rounds: 1}"
    sets = [part for one in (TREE, budget, "training.epochs=2") for part in ("--set", one)]
    done = tessera("run", "street_multi_class", "--out", out, "--seed", 5, *sets)
    assert done.returncode == 0, done.stderr
    first, second = summary(out)["rounds"]
    assert second["clicks"] >= 50 > first["clicks"] >= 30
    page = (out / "report.html").read_text()
    assert 'id="pseudo"' in page
    assert "pseudo labels" in page
    assert "% localised" in page
