"""Columns that need more than one plain pass, end to end: mirrored images, dropout, a discriminator, VAAL."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from integration.loop import RECIPE, selections, summary, tessera, write_recipe

COLUMNS = {
    "equal": {"name": "equal"},
    "bald": {"name": "bald", "passes": 3},
    "labeledness": {"name": "labeledness", "epochs": 2, "batch": 4},
    "vaal": {"name": "vaal", "size": 32, "width": 4, "latent": 4, "epochs": 2, "batch": 4},
}


def changes(names, stages):
    return {
        "model": {**RECIPE["model"], "mc_dropout": 0.1},
        "score": [*RECIPE["score"], *(COLUMNS[name] for name in names)],
        "selection": {"initial": RECIPE["selection"]["initial"], "stages": stages},
        "budget": {"unit": "regions", "per_round": 8, "rounds": 1},
    }


@pytest.mark.full
@pytest.mark.parametrize("name", list(COLUMNS))
def test_a_run_by_each_column(name, tmp_path):
    lowest = name in ("labeledness", "vaal")
    stages = [{"name": "top", "by": f"{name}_mean", "descending": not lowest}]
    recipe = write_recipe(tmp_path, **changes([name], stages))
    done = tessera("run", recipe, "--out", tmp_path / "out", "--seed", 5)
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path / "out")["rounds"][1]["regions_labelled"] == 24
    chosen = pq.read_table(tmp_path / "out" / "selections" / "round_01.parquet")
    order = chosen["score"].to_pylist()
    assert order == sorted(order, reverse=not lowest)
    assert len(set(order)) > 1


@pytest.mark.full
def test_two_replicas_choose_what_one_chooses_with_every_column_at_once(tmp_path):
    stages = [{"name": "top", "by": "bald_mean"}]
    recipe = write_recipe(tmp_path, **changes(COLUMNS, stages))
    outs = [tmp_path / "one", tmp_path / "two"]
    for out, more in zip(outs, ((), ("--replicas", "scorer=2")), strict=True):
        done = tessera("run", recipe, "--out", out, "--seed", 5, *more)
        assert done.returncode == 0, done.stderr
    assert selections(outs[0]) == selections(outs[1])
    assert summary(outs[0])["rounds"][1]["timings"]["score"] > 0


def test_bald_without_dropout_in_the_model_is_refused_before_anything_runs(tmp_path):
    made = changes(["bald"], [{"name": "top", "by": "bald_mean"}])
    made["model"] = RECIPE["model"]
    done = tessera("run", write_recipe(tmp_path, **made), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "set model.mc_dropout" in done.stderr
    assert not (tmp_path / "out" / "summary.json").exists()
