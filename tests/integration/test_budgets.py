"""A run with a budget in clicks, through the command line: its selections, its ledger, its curve over any cost."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from integration.loop import labelled, summary, tessera, write_recipe
from tessera.formats import schemas


@pytest.fixture(scope="module")
def paid(tmp_path_factory):
    """A run with SEEDS regions, multi-class questions and a budget in clicks, first set included."""
    folder = tmp_path_factory.mktemp("paid")
    recipe = write_recipe(
        folder,
        recipe="tiny_clicks",
        partition={"name": "seeds", "size": 16, "levels": 4},
        query={"name": "multi_class"},
        oracle={"name": "missed_classes"},
        selection={"initial": [{"name": "random"}], "stages": [{"name": "top", "by": "entropy_mean"}]},
        budget={"unit": "clicks", "initial": 20, "per_round": 12, "rounds": 2},
        training={
            "name": "supervised", "frozen": False, "backbone_norm": "train", "epochs": 1, "batch": 4, "view": "images",
            "without_pixels": "skip",
        },
    )  # fmt: skip
    out = folder / "out"
    done = tessera("run", recipe, "--out", out, "--seed", 5)
    assert done.returncode == 0, done.stderr
    return out


def test_clicks_are_the_budget(paid):
    rounds = summary(paid)["rounds"]
    assert [entry["round"] for entry in rounds] == [0, 1, 2]
    for entry in rounds:
        planned = 20 + 12 * entry["round"]
        assert 0 <= entry["clicks"] - planned < 9, "one answer too many at most, over all rounds"
        assert entry["clicks_without_undefined"] <= entry["clicks"]
    chosen = labelled(paid)
    assert len(chosen) == len(set(chosen)) == rounds[-1]["regions_labelled"], "selections are what was asked"


def test_the_ledger_of_the_run_has_every_answer_and_adds_up(paid):
    table = pq.read_table(paid / "ledger.parquet")
    assert table.schema.equals(schemas.RUN_LEDGER)
    rows = table.to_pylist()
    found, last = summary(paid), summary(paid)["rounds"][-1]
    assert {row["run"] for row in rows} == {found["run"]}
    assert json.loads(rows[0]["partition"])["seeds"]["size"] == 16
    assert [(row["image_id"], row["region_id"]) for row in rows] == labelled(paid)
    assert sum(row["clicks"] for row in rows) == last["clicks"]
    assert sum(row["clicks_without_undefined"] for row in rows) == last["clicks_without_undefined"]
    assert sum(row["seconds"] for row in rows) == pytest.approx(last["labelling_seconds"])
    assert len({row["event_id"] for row in rows}) == len(rows)
    assert all(len(row["classes"]) == row["clicks"] for row in rows)
    assert all(bool(row["answer_sha256"]) == (len(row["classes"]) == 1) for row in rows)
    assert {row["query"] for row in rows} == {"multi_class"}
    assert {row["seconds_model"] for row in rows} <= {"user_study", "user_study_extrapolated"}


def test_its_curve_can_be_read_over_every_cost(paid):
    for over in ("clicks", "percent"):
        done = tessera("compare", paid, "--over", over)
        assert done.returncode == 0, done.stderr
        assert "at equal" in done.stdout
    refused = tessera("compare", paid, "--over", "money")
    assert refused.returncode == 2
    assert "over: unknown unit 'money'; known: clicks" in refused.stderr
