"""The whole loop through the command line: its files, and that a repetition gives the same."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pyarrow.parquet as pq
import pytest

from integration.loop import labelled, selections, summary, tessera
from tessera.formats import schemas
from tessera.runtime.objects import sha256

NO_MLFLOW = importlib.util.find_spec("mlflow") is None
ROUND_KEYS = {
    "round", "regions_labelled", "regions_fraction", "images_touched", "pixels_labelled", "pixels_fraction", "clicks",
    "clicks_without_undefined", "labelling_seconds", "selection_sha256", "timings", "val", "test",
}  # fmt: skip


def test_summary_has_what_the_contract_says(reference):
    found = summary(reference)
    keys = {
        "recipe",
        "run",
        "seed",
        "dataset",
        "axes",
        "checkpoint_policy",
        "versions",
        "wall_seconds",
        "auc",
        "rounds",
    }
    assert keys <= set(found)
    assert (found["recipe"], found["seed"], found["checkpoint_policy"]) == ("tiny_meal", 5, "last")
    assert [entry["round"] for entry in found["rounds"]] == [0, 1, 2]
    for entry in found["rounds"]:
        assert set(entry) >= ROUND_KEYS
        assert set(entry["timings"]) == {"score", "embed", "select", "label", "train", "evaluate"}
        assert entry["images_per_second"] > 0
        for split in ("val", "test"):
            assert 0 <= entry[split]["miou"] <= 1
            assert 0 < entry[split]["pixel_accuracy"] <= 1
            assert len(entry[split]["iou"]) == 11
        assert entry["batch"]["regions"] == (16 if entry["round"] == 0 else 8)
        assert 1 <= entry["batch"]["sequences"] <= entry["batch"]["images"] <= 8
        assert 0 <= entry["batch"]["class_entropy"] <= math.log(11)
        assert (entry["batch"]["distance"] is None) == (entry["round"] == 0)
    for entry in found["rounds"][1:]:
        assert entry["batch"]["distance"]["candidates"] == 24
        assert entry["batch"]["distance"]["dimensions"] == 2
        # The tiny network may map every region to one point, and then there is no ratio.
        assert entry["batch"]["distance"]["inside"] >= 0
    # 6 images of 16 regions: one whole image first, then 8 regions per round.
    assert [entry["regions_labelled"] for entry in found["rounds"]] == [16, 24, 32]
    assert found["rounds"][-1]["regions_fraction"] == pytest.approx(32 / 96)
    assert found["rounds"][-1]["pixels_fraction"] == pytest.approx(32 / 96, rel=0.2)
    assert found["rounds"][0]["images_touched"] == 1
    assert all(math.isfinite(entry["clicks"]) and entry["clicks"] > 0 for entry in found["rounds"])


def test_selections_are_distinct_regions_in_rank_order(reference):
    chosen = labelled(reference)
    assert len(chosen) == len(set(chosen)) == 32
    for entry in summary(reference)["rounds"]:
        table = pq.read_table(reference / "selections" / f"round_{entry['round']:02d}.parquet")
        assert table.schema.equals(schemas.SELECTION)
        assert table["rank"].to_pylist() == list(range(table.num_rows))
        rows = zip(table["image_id"].to_pylist(), table["region_id"].to_pylist(), strict=True)
        lines = "".join(f"{image}\t{region}\n" for image, region in rows)
        assert sha256(lines.encode()) == entry["selection_sha256"]


def test_the_report_shows_curve_and_regions(reference):
    page = (reference / "report.html").read_text()
    assert "<svg" in page
    assert "data:image/" in page
    assert "How alike the chosen are" in page
    # Nothing is loaded from elsewhere.
    assert "<script src" not in page
    assert 'href="http' not in page


def test_nothing_runs_on_after_the_command_ended(reference):
    marked = str((reference / "stack").resolve())
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TESSERA_STACK") == marked:
                left.append(process.cmdline())
        except psutil.Error:
            continue
    assert left == []
    # In order, not killed: the host said so last.
    last = (reference / "stack" / "logs" / "host.log").read_text().splitlines()[-1]
    assert json.loads(last)["event"] == "left"


@pytest.mark.parametrize("scorers", [2, pytest.param(3, marks=pytest.mark.full)])
def test_the_same_recipe_and_seed_repeat_with_any_number_of_scorers(recipe, reference, tmp_path, scorers):
    again = tmp_path / "again"
    done = tessera("run", recipe, "--out", again, "--seed", 5, "--replicas", f"scorer={scorers}")
    assert done.returncode == 0, done.stderr
    assert selections(again) == selections(reference)
    first = [entry["test"]["iou"] for entry in summary(reference)["rounds"]]
    assert [entry["test"]["iou"] for entry in summary(again)["rounds"]] == first
    assert (again / "stack" / "logs" / f"scorer-{scorers}.log").exists()


def test_running_a_finished_run_again_changes_nothing(recipe, reference):
    before = (reference / "summary.json").read_bytes()
    done = tessera("run", recipe, "--out", reference, "--seed", 5)
    assert done.returncode == 0, done.stderr
    assert "done already" in done.stderr
    assert (reference / "summary.json").read_bytes() == before


def test_compare_prints_the_run(reference):
    done = tessera("compare", reference)
    assert done.returncode == 0, done.stderr
    assert "tiny_meal" in done.stdout


@pytest.mark.full
def test_another_seed_differs_and_progress_is_lines_where_there_is_no_terminal(recipe, reference, tmp_path):
    done = tessera("run", recipe, "--out", tmp_path / "out", "--seed", 6, "--set", "budget.rounds=1")
    assert done.returncode == 0, done.stderr
    assert selections(tmp_path / "out") != selections(reference)[:2]
    assert "round 0:" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert json.loads((tmp_path / "out" / "run.json").read_bytes())["finished"] is True


def test_labels_and_the_model_of_a_run_leave_as_files(reference, tmp_path):
    done = tessera("export", "labels", reference, tmp_path / "labels", "--layout", "mmseg")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "labels" / "provenance.json").read_bytes())["answers"]
    assert sorted((one["image_id"], one["region_id"]) for one in told) == sorted(labelled(reference))
    assert {one["source"] for one in told} == {"simulated"}
    maps = {path.stem for path in (tmp_path / "labels" / "ann_dir" / "train").iterdir()}
    assert maps == {one["image_id"] for one in told}
    done = tessera("export", "model", reference, tmp_path / "model")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "model" / "model.json").read_bytes())
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert (found["round"], found["sha256"]) == (2, sha256(weights))
    assert found["test"]["miou"] == summary(reference)["rounds"][-1]["test"]["miou"]
    again = tessera("export", "labels", reference, tmp_path / "labels")
    assert again.returncode == 2
    assert "not an empty folder" in again.stderr
    missing = tessera("export", "model", reference, tmp_path / "none", "--round", 9)
    assert (missing.returncode, "--round 9: not a complete round" in missing.stderr) == (2, True)


@pytest.mark.full
def test_the_model_of_a_run_leaves_as_onnx_with_its_facts(reference, tmp_path):
    done = tessera("export", "model", reference, tmp_path / "model", "--format", "onnx")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads((tmp_path / "model" / "model.json").read_bytes())
    session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["run"], facts["round"], facts["sha256"]) == (told["run"], "2", told["sha256"])
    assert json.loads(facts["classes"]) == told["classes"]
    assert len(json.loads(facts["colors"])) == len(told["classes"])
    assert json.loads(facts["test"])["miou"] == summary(reference)["rounds"][-1]["test"]["miou"]
    labels, logits = session.run(["labels", "logits"], {"image": np.zeros((1, 64, 96, 3), np.uint8)})
    assert (labels.shape, logits.shape) == ((1, 64, 96), (1, len(told["classes"]), 64, 96))
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.onnx", "model.json"}


@pytest.mark.full
def test_an_export_that_cannot_be_is_named(reference, tmp_path):
    none = tessera("export", "labels", reference, tmp_path / "labels", "--pseudo")
    assert (none.returncode, "makes no labels of its own" in none.stderr) == (2, True), none.stderr
    odd = tessera("export", "model", reference, tmp_path / "model", "--format", "onx")
    assert (odd.returncode, "--format 'onx': unknown" in odd.stderr) == (2, True), odd.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.full
@pytest.mark.skipif(NO_MLFLOW, reason="mlflow is not installed: pip install -r locks/mlflow.lock")
@pytest.mark.filterwarnings("ignore")  # deprecations inside the library are its own affair
def test_a_run_is_tracked_by_mlflow_in_a_folder(recipe, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    where = {"MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    out, changes = tmp_path / "out", ("--set", "budget.rounds=1")
    done = tessera("run", recipe, "--out", out, *changes, TESSERA_TRACKING="mlflow", **where)
    assert done.returncode == 0, done.stderr
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    client = MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("tessera").experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", summary(out)["run"])
    assert (found.data.params["recipe"], found.data.params["seed"]) == ("tiny_meal", str(summary(out)["seed"]))
    for name in ("summary.json", "report.html"):
        kept = client.download_artifacts(found.info.run_id, name, str(tmp_path))
        assert Path(kept).read_bytes() == (out / name).read_bytes()
    for split in ("val", "test"):
        tracked = {one.step: one.value for one in client.get_metric_history(found.info.run_id, f"{split}/miou")}
        assert tracked == {entry["round"]: entry[split]["miou"] for entry in summary(out)["rounds"]}
    clicks = {one.step: one.value for one in client.get_metric_history(found.info.run_id, "cost/clicks")}
    assert clicks == {entry["round"]: entry["clicks"] for entry in summary(out)["rounds"]}
