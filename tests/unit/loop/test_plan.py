"""Whole runs, planned: exact steps, references, seeds, and which service gets which labels."""

from __future__ import annotations

import json

import pytest

from tessera.errors import BadInput
from tessera.loop import plan
from tessera.loop.reducer import DONE, FAILED, RunState, fold
from tessera.loop.seeds import derive
from tessera.pb.runs_pb2 import RunEvent
from unit.loop.simulator import World, job_failed, key_of, load, ref, spec_of, step_started, submitted, walk

TAIL = ["select", "label", "train", "evaluate"]


def names(walked):
    return [(step.round, step.step) for step in walked.started]


def expected(rounds, *, first, others=None, head=()):
    found = [(0, name) for name in ("partition", *TAIL)]
    for round_ in range(1, rounds + 1):
        middle = first if round_ == 1 or others is None else others
        found += [(round_, name) for name in (*head, *middle, *TAIL)]
    return found


@pytest.mark.parametrize("arm", ["random", "entropy"])
def test_random_and_entropy_score_and_select(arm):
    walked = walk(spec_of(load(f"street_{arm}")))
    assert names(walked) == expected(4, first=["score"])
    assert walked.end == plan.Finish("spent")
    assert walked.state.status == DONE
    assert [len(chosen) for chosen in walked.chosen()] == [32] * 5
    needs_model = [request.HasField("model") for request in walked.requests(1, "score")]
    assert needs_model == [arm == "entropy"] * 3


def test_meal_fits_once_on_the_pool_with_the_pretrained_backbone():
    walked = walk(spec_of(load("meal_camvid_meal_frozen", budget__rounds=3)))
    rest = ["score", "shortlist", "candidates", "project"]
    assert names(walked) == expected(3, first=["score", "featurize", "fit", *rest[1:]], others=rest)
    pool = walked.requests(1, "featurize")
    assert [request.targets.sha256 for request in pool] == [
        response.shard.regions.sha256 for response in responses(walked, 0, "partition")
    ]
    assert all(request.model.weights == ref("weights", "imagenet") for request in pool)
    # A backbone alone has no head.
    assert all(request.model.classes == 0 for request in pool)
    assert len(walked.requests(1, "fit")[0].shards) == len(pool)
    fitted = responses(walked, 1, "fit")[0].projection
    for round_ in (1, 2, 3):
        candidates = walked.requests(round_, "candidates")
        assert len(candidates) == 1
        assert candidates[0].model == responses(walked, round_ - 1, "train")[0].model
        assert candidates[0].targets == responses(walked, round_, "shortlist")[0].selection
        assert walked.requests(round_, "project")[0].projection == fitted
        select = walked.requests(round_, "select")[0]
        assert select.candidates == candidates[0].targets
        assert select.embedding == responses(walked, round_, "project")[0].embedding
        assert [stage.name for stage in select.stages] == ["kmeans_plusplus"]
        shortlist = walked.requests(round_, "shortlist")[0]
        assert json.loads(shortlist.stages[0].parameters)["count"] == 200
        # Those of the shortlist that were not queried are still there for the next round.
        assert len(shortlist.ledgers) == round_


def test_meal_ft_fits_each_round_on_its_shortlist():
    walked = walk(spec_of(load("meal_camvid_meal_ft_frozen", budget__rounds=2)))
    assert names(walked) == expected(2, first=["score", "shortlist", "candidates", "fit"])
    for round_ in (1, 2):
        fit = walked.requests(round_, "fit")[0]
        assert [shard.features for shard in fit.shards] == [
            response.features for response in responses(walked, round_, "candidates")
        ]
        assert fit.seed == derive(7, round_, "fit")
        assert walked.requests(round_, "select")[0].embedding == responses(walked, round_, "fit")[0].embedding


def test_without_pretrained_weights_the_first_trained_model_describes_the_pool():
    walked = walk(spec_of(load("street_meal", model__pretrained="random")))
    first = responses(walked, 0, "train")[0].model
    assert all(request.model == first for request in walked.requests(1, "featurize"))
    assert not walked.requests(0, "train")[0].HasField("pretrained")


def test_without_a_shortlist_the_whole_pool_is_embedded():
    recipe = load("street_meal", selection__shortlist=[])
    walked = walk(spec_of(recipe))
    assert ("shortlist" in {step.step for step in walked.started}) is False
    assert len(walked.requests(2, "candidates")) == 3
    assert not walked.requests(2, "select")[0].HasField("candidates")
    assert len(walked.requests(2, "project")[0].shards) == 3


@pytest.mark.parametrize("name", ["street_supervised", "camvid_supervised_frozen"])
def test_supervised_is_one_round_over_everything(name):
    walked = walk(spec_of(load(name), train=20))
    assert names(walked) == [(0, name) for name in ("partition", *TAIL)]
    assert [len(chosen) for chosen in walked.chosen()] == [20]


def test_shards_cover_each_split_once_in_order():
    walked = walk(spec_of(load("street_random"), train=40, val=17, test=16))
    assert [(r.images.start, r.images.end) for r in walked.requests(0, "partition")] == [(0, 16), (16, 32), (32, 40)]
    assert [(r.images.split, r.images.start, r.images.end) for r in walked.requests(3, "evaluate")] == [
        ("val", 0, 16),
        ("val", 16, 17),
        ("test", 0, 16),
    ]


def test_seeds_come_from_run_seed_round_and_purpose_and_are_shared_by_the_arms():
    arms = [walk(spec_of(load(name), seed=3)) for name in ("street_random", "street_entropy", "street_meal_ft")]
    for walked in arms:
        for step in walked.started:
            for job in step.jobs:
                if "seed" in job.request.DESCRIPTOR.fields_by_name:
                    assert job.request.seed == derive(3, step.round, step.step)
    # Equal initial sets: round 0 is one computation for all arms.
    for name in ("select", "label", "train"):
        keys = {key_of(job.method, job.request) for walked in arms for job in walked.step(0, name).jobs}
        assert len(keys) == 1


def test_the_last_round_trains_for_its_final_epochs_and_equal_trainings_are_equal_requests():
    walked = walk(spec_of(load("meal_camvid_entropy_frozen", budget__rounds=2)))
    trained = [json.loads(walked.requests(round_, "train")[0].training.parameters) for round_ in range(3)]
    assert [one["epochs"] for one in trained] == [25, 25, 32]
    assert {one["final_epochs"] for one in trained} == {None}


@pytest.mark.parametrize("acquires", ["last", "kept"])
def test_the_reported_model_is_measured_and_the_acquiring_one_chooses(acquires):
    recipe = load("meal_camvid_meal_finetuned", checkpoint="best_val", acquisition_model=acquires, budget__rounds=1)
    walked = walk(spec_of(recipe))
    assert [one.acquisition_model for one in walked.requests(0, "train")] == ["last" if acquires == "last" else ""]
    (left,) = responses(walked, 0, "train")
    assert left.HasField("reported") == (acquires == "last")
    measured = left.reported if acquires == "last" else left.model
    assert {one.model.weights.sha256 for one in walked.requests(0, "evaluate")} == {measured.weights.sha256}
    for step in ("score", "candidates"):
        assert {one.model.weights.sha256 for one in walked.requests(1, step)} == {left.model.weights.sha256}


def responses(walked, round_, name):
    return [walked.world.answer(job) for job in walked.step(round_, name).jobs]


@pytest.mark.parametrize("policy", ["last", "best_val"])
@pytest.mark.parametrize(
    "name", ["street_random", "meal_camvid_meal_frozen", "meal_camvid_meal_ft_finetuned", "street_supervised"]
)
def test_who_is_handed_which_labels(name, policy):
    walked = walk(spec_of(load(name, checkpoint=policy)))
    seen: dict[str, set[str]] = {}
    for step in walked.started:
        for job in step.jobs:
            for split in ("train", "val", "test"):
                if ref("labels", split).sha256.encode() in job.request.SerializeToString():
                    purpose = job.request.images.split if job.method == "Evaluate" else ""
                    seen.setdefault(split, set()).add(f"{job.method} {purpose}".strip())
    assert seen["train"] == {"Answer"}
    assert seen["test"] == {"Evaluate test"}
    assert seen["val"] == ({"Evaluate val", "Train"} if policy == "best_val" else {"Evaluate val"})


def test_a_budget_larger_than_the_pool_is_refused_before_any_label():
    # 2 images of 16 regions, then 19 × 32: 640; the pool has exactly 40 × 16.
    assert walk(spec_of(load("street_random", budget__rounds=19))).end == plan.Finish("spent")
    refused = walk(spec_of(load("street_random", budget__rounds=20)))
    assert names(refused) == [(0, "partition")]
    assert refused.state.status == FAILED
    assert refused.state.exit_code == 2
    assert "672 regions" in refused.end.message
    assert "640" in refused.end.message


def test_more_initial_images_than_there_are_is_refused_with_both_numbers():
    refused = walk(spec_of(load("street_random", selection__initial=[{"name": "random_images", "images": 41}])))
    assert isinstance(refused.end, plan.Fail)
    assert refused.end.exit_code == 2
    assert "656 regions first" in refused.end.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec.split_sizes.pop("val"), "no images in split 'val'"),
        (lambda spec: spec.split_sizes.update(train=0), "no images in split 'train'"),
        (lambda spec: spec.dataset.labels.pop("test"), "'test' has no labels"),
        (lambda spec: spec.ClearField("class_names"), "no classes"),
    ],
)
def test_a_data_set_that_lacks_something_is_refused_when_submitted_and_when_planned(change, message):
    spec = spec_of(load("street_random"))
    change(spec)
    with pytest.raises(BadInput, match=message):
        plan.check(spec)
    end = walk(spec).end
    assert isinstance(end, plan.Fail)
    assert message in end.message


def test_pretrained_weights_that_did_not_come_are_refused():
    spec = spec_of(load("meal_camvid_random_frozen"))
    spec.ClearField("pretrained")
    with pytest.raises(BadInput, match=r"model\.pretrained: 'imagenet'"):
        plan.check(spec)


def test_an_overspending_selection_ends_the_run_before_it_is_labelled():
    walked = walk(spec_of(load("street_random")), World(overshoot=1))
    assert isinstance(walked.end, plan.Fail)
    assert "33 regions selected with a budget of 32" in walked.end.message
    assert (1, "label") not in names(walked)


def test_a_failed_job_ends_the_run_with_the_workers_words_and_a_resume_goes_on():
    spec = spec_of(load("street_random"))
    state = fold(RunState(), [submitted(spec)])
    action = plan.next_action(state)
    started = step_started(action)
    key = started.step_started.job_keys[1]
    state = fold(state, [started, job_failed(key, "Partition", "image a.png is truncated", 2)])
    failed = plan.next_action(state)
    assert failed == plan.Fail("Partition failed (out_of_memory): image a.png is truncated", 2)
    log = [RunEvent(), RunEvent()]
    log[0].failed.message = failed.message
    log[1].resumed.SetInParent()
    state = fold(state, log)
    assert plan.next_action(state) == plan.Wait()
    (step,) = state.open_steps
    assert plan.jobs(state, step) == action.jobs


def test_planning_the_jobs_of_a_started_step_again_gives_the_same():
    walked = walk(spec_of(load("meal_camvid_meal_frozen", budget__rounds=2)))
    for step in walked.started:
        assert plan.jobs(walked.state, walked.state.steps[step.round, step.step]) == step.jobs


def test_nothing_is_decided_for_a_run_that_is_not_running():
    assert plan.next_action(RunState()) == plan.Wait()
    walked = walk(spec_of(load("street_supervised")))
    assert plan.next_action(walked.state) == plan.Wait()
