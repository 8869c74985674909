"""The picture of a run and its summary, against values computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tessera.errors import BadInput
from tessera.loop.reducer import RunState, fold
from tessera.loop.summary import auc, quality, summary
from tessera.loop.view import Kept, objects, progress, view
from tessera.pb import runs_pb2 as pb
from unit.loop.simulator import load, spec_of, walk

FIELDS = {
    "round", "regions_labelled", "regions_fraction", "images_touched", "pixels_labelled", "pixels_fraction", "clicks",
    "clicks_without_undefined", "labelling_seconds", "selection_sha256", "timings", "compute_seconds",
    "images_per_second", "val", "test", "kept_epoch", "batch", "notes",
}  # fmt: skip


def summarize(walked):
    made = view(walked.state)
    images = [{str(image) for image, _ in chosen} for chosen in walked.chosen()]
    return made, summary(made, images, {"tessera": "1"})


@pytest.fixture(scope="module")
def meal():
    return walk(spec_of(load("meal_camvid_meal_frozen", budget__rounds=2)))


def test_the_view_holds_every_artefact(meal):
    made = view(meal.state)
    assert made.status == pb.RUN_STATUS_DONE
    assert (made.pool_regions, made.pool_pixels, made.planned_rounds) == (640, 64_000, 2)
    assert not made.shards
    assert len(objects(meal.state, "shards", 0)) == 3
    assert [one.round for one in made.rounds] == [0, 1, 2]
    assert all(one.complete for one in made.rounds)
    assert not made.rounds[0].HasField("embedding")
    for one in made.rounds[1:]:
        assert one.HasField("embedding")
        assert one.HasField("candidates")
        assert one.pool_embedding == made.rounds[1].pool_embedding != one.embedding
        assert not one.scores
        assert len(objects(meal.state, "scores", one.round)) == 3
    assert not any(one.HasField("pool_embedding") for one in view(walk(spec_of(load("street_meal_ft"))).state).rounds)
    assert [(one.split, one.images) for one in made.rounds[2].splits] == [("val", 10), ("test", 9)]
    assert len(objects(meal.state, "confusion", 2)) == 2
    assert objects(meal.state, "confusion", 3) == objects(meal.state, "scores", 0) == []
    with pytest.raises(BadInput, match="unknown"):
        objects(meal.state, "weights", 0)
    assert [timing.step for timing in made.rounds[2].timings] == [
        "score", "shortlist", "candidates", "project", "select", "label", "train", "evaluate",
    ]  # fmt: skip
    # One second per event: a step lasts from its start to its last result.
    assert made.rounds[2].timings[0].wall_seconds == 3
    assert made.rounds[2].timings[0].compute_seconds == 6
    assert [timing.images_per_second for timing in made.rounds[2].timings] == [0, 0, 0, 0, 0, 0, 25, 0]
    assert made.wall_seconds == len(meal.events) - 1


def test_a_view_can_be_made_at_every_moment(meal):
    state, kept = RunState(), Kept()
    for event in meal.events:
        state = fold(state, [event])
        made = view(state)
        assert view(state, kept) == made
        assert made.jobs_done <= made.jobs_total
    assert made.step == "evaluate"


def test_the_summary_has_the_fields_of_the_contract(meal):
    made, result = summarize(meal)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert {"recipe", "run", "seed", "dataset", "axes", "checkpoint_policy", "versions", "wall_seconds", "auc"} <= set(
        result
    )
    assert result["targets"] == {"val_miou": 0.558}
    assert tuple(result["deviations"]) == load("meal_camvid_meal_frozen").paper.deviations != ()
    assert [set(one) for one in result["rounds"]] == [FIELDS] * 3
    last = result["rounds"][-1]
    assert last["regions_labelled"] == 96
    assert last["regions_fraction"] == 96 / 640
    assert last["pixels_labelled"] == 9600
    assert last["pixels_fraction"] == 9600 / 64_000
    assert (last["clicks"], last["clicks_without_undefined"], last["labelling_seconds"]) == (960, 864, 144.0)
    touched = {image for chosen in meal.chosen() for image, _ in chosen}
    assert last["images_touched"] == len(touched)
    assert last["images_per_second"] == 25
    assert last["timings"] == {"score": 3, "embed": 2, "select": 2, "label": 1, "train": 1, "evaluate": 2}
    # 60 / 80, 20 / 40; the third class is not in the truth.
    assert last["val"]["miou"] == pytest.approx((0.75 + 0.5) / 2)
    assert last["val"]["iou"] == [0.75, 0.5, None]
    assert last["val"]["pixel_accuracy"] == pytest.approx(0.8)
    assert last["selection_sha256"] == made.rounds[2].selection_sha256


def test_miou_is_over_classes_in_the_truth_and_iou_of_a_wrongly_predicted_class_is_zero():
    counts = pb.SplitCounts(true_positives=[5, 0, 0], false_positives=[0, 5, 0], false_negatives=[5, 0, 0])
    assert quality(counts)["iou"] == [0.5, 0.0, None]
    assert quality(counts)["miou"] == 0.5
    assert quality(counts)["pixel_accuracy"] == 0.5
    assert quality(pb.SplitCounts())["miou"] is None


def test_auc_is_the_trapezoid_from_the_initial_budget_on():
    rounds = [
        {"regions_fraction": budget, "val": {"miou": value}}
        for budget, value in [(0.01, 0.2), (0.02, 0.4), (0.05, 0.5)]
    ]
    found = auc(rounds, "val")
    assert found["value"] == pytest.approx(0.01 * 0.3 + 0.03 * 0.45)
    assert found["value"] == pytest.approx(np.trapezoid([0.2, 0.4, 0.5], [0.01, 0.02, 0.05]))
    assert found["mean"] == pytest.approx(found["value"] / 0.04)
    assert (found["convention"], found["from"], found["to"]) == ("trapezoid", 0.01, 0.05)
    assert auc(rounds[:1], "val") is None
    assert auc(rounds, "test") is None


def test_a_round_under_way_is_not_in_the_summary(meal):
    cut = next(index for index, event in enumerate(meal.events) if event.step_started.round == 2)
    state = fold(RunState(), meal.events[: cut + 2])
    made = view(state)
    result = summary(made, [{"a"}, {"b"}, {"c"}], {})
    assert [one["round"] for one in result["rounds"]] == [0, 1]
    assert result["status"] == "running"


def test_missing_image_ids_are_refused(meal):
    with pytest.raises(BadInput, match="image ids of 1"):
        summary(view(meal.state), [{"a"}], {})


def test_progress_counts_finished_jobs_and_the_parts_of_running_ones(meal):
    # Submitted, three partition jobs started, one of them done.
    state = fold(RunState(), meal.events[:3])
    keys = meal.events[1].step_started.job_keys
    assert progress(state, {}) == (1 / 3, "")
    running = {keys[1]: (0.5, "image 7"), keys[0]: (0.9, "stale"), "another": (1.0, "")}
    assert progress(state, running) == (0.5, "image 7")
    assert progress(fold(RunState(), meal.events[:1]), {}) == (0.0, "")
    assert progress(None, {}) == (1.0, "")
