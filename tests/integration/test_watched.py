"""An embedding for diagnosis only shows the selection and does not change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.loop import RECIPE, selections, summary, tessera, write_recipe

SPACE = {"features": {"name": "backbone"}, "projection": {"name": "pca", "dimensions": 3}, "fit_on": "pool"}


def run(out: Path, **embedding: object) -> Path:
    stages = [{"name": "top", "by": "entropy_mean"}]
    selection = {"initial": RECIPE["selection"]["initial"], "stages": stages, **embedding}
    recipe = write_recipe(out.parent / f"recipe_{out.name}", selection=selection, budget={"per_round": 8, "rounds": 1})
    done = tessera("run", recipe, "--out", out, "--seed", 5)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.full
def test_a_watched_embedding_shows_the_choice_and_leaves_it_alone(tmp_path: Path):
    plain = run(tmp_path / "plain")
    watched = run(tmp_path / "watched", embedding={**SPACE, "watch": True})
    assert selections(watched) == selections(plain)
    assert summary(plain)["rounds"][1]["batch"]["distance"] is None
    seen = summary(watched)["rounds"][1]["batch"]["distance"]
    # 96 regions less the 16 of the first image.
    assert (seen["candidates"], seen["dimensions"]) == (80, 3)
    page = (watched / "report.html").read_text()
    assert "principal components of 3 dimensions" in page
    assert "principal components" not in (plain / "report.html").read_text()
