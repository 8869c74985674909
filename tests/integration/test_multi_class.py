"""A run by sets of classes, end to end: two stages, undefined left out of choice and measure, pseudo labels drawn."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest

from integration.loop import summary, tessera
from tessera.formats import images

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
    labels_leave_with_their_sources(out, tmp_path / "labels")


def labels_leave_with_their_sources(out, to):
    """Every pixel says where its label comes from, and each region whose answer, or which model, that is."""
    done = tessera("export", "labels", out, to, "--pseudo")
    assert done.returncode == 0, done.stderr
    assert "pseudo labels of round 1" in done.stdout
    told = json.loads((to / "provenance.json").read_bytes())
    asked = {(one["image_id"], one["region_id"]): one for one in told["answers"]}
    rows = list(csv.DictReader((to / "regions.csv").read_text().splitlines()))
    pixels = Counter()
    for path in (to / "provenance").iterdir():
        sources = images.decode_labels(path.read_bytes(), path.name)
        labels = images.decode_labels((to / "labels" / path.name).read_bytes(), path.name)
        assert (labels[sources == 0] == 255).all()
        pixels.update(sources[sources > 0].tolist())
    named = {int(value): name for value, name in told["pseudo"]["sources"].items()}
    counted = Counter()
    for row in rows:
        counted[row["source"]] += int(row["pixels"])
        answer = asked.get((row["image_id"], int(row["region_id"])))
        assert (answer is not None) == (row["source"] != "expanded")
        assert row["event_id"] == ("" if answer is None else answer["event_id"])
        if row["source"] == "human":
            assert len(answer["classes"]) == 1
            assert not row["model_sha256"]
        else:
            assert (row["run"], row["round"]) == (told["run"], "1")
            assert row["model_sha256"] == told["pseudo"]["model_sha256"]
    assert counted == {named[value]: count for value, count in pixels.items()}
    assert {"human", "localised", "expanded"} == set(counted)
