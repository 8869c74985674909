"""A data set that grows, labels that came with it, and an evaluation set that is asked for: what is planned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

from tessera.errors import BadInput
from tessera.loop import plan
from tessera.loop.evaluation_set import chosen
from tessera.loop.reading import from_canonical, parse
from tessera.loop.reducer import fold
from tessera.loop.responses import references
from tessera.loop.summary import summary
from tessera.loop.view import manifest_of, objects, view
from tessera.pb.common_pb2 import ImageRange
from tessera.reporting.compare import differing_versions
from unit.loop.simulator import World, load, mapping, ref, spec_of, walk

# One recipe of each way to use unlabelled images: none, features of the whole pool, all for training, a discriminator.
KINDS = (
    "street_entropy",
    "street_meal",
    "best_practices_camvid_entropy_ssl",
    "meal_camvid_meal_frozen",
)


def people(name: str, **changes: Any) -> Any:
    """A recipe of the repository that people answer."""
    return parse({**mapping(name), "oracle": {"name": "human"}}, {k.replace("__", "."): v for k, v in changes.items()})


def growing(recipe: Any, arrivals: dict[int, int], labelled: tuple[int, ...] = (), **more: Any) -> Any:
    pools = {1: 40, 2: 50, 3: 75}
    spec = spec_of(recipe, train=40, **more)
    spec.series, spec.version = "camera", 1
    del spec.dataset.labels["train"]
    world = World(pools=pools, arrivals=arrivals, others={"val": 10, "test": 9}, labelled=set(labelled))
    return walk(spec, world)


def ranges(message: Message) -> Iterator[ImageRange]:
    if isinstance(message, ImageRange):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in value if field.is_repeated and not hasattr(value, "values") else [value]:
            if isinstance(one, Message):
                yield from ranges(one)


def test_images_that_arrive_are_cut_once_and_join_the_pool():
    run = growing(people("street_entropy", budget__rounds=3), {2: 2, 3: 3})
    assert isinstance(run.end, plan.Finish)
    first = [(one.round, one.step) for one in run.started if one.step in ("take", "partition", "score")]
    assert first == [
        (0, "partition"), (1, "take"), (1, "score"), (2, "take"), (2, "partition"), (2, "score"), (3, "take"),
        (3, "partition"), (3, "score"),
    ]  # fmt: skip
    assert [(one.images.start, one.images.end) for one in run.requests(2, "partition")] == [(40, 50)]
    assert [(one.images.start, one.images.end) for one in run.requests(3, "partition")] == [(50, 66), (66, 75)]
    scored = [one.shard.images for one in run.requests(3, "score")]
    assert [(one.start, one.end) for one in scored] == [(0, 16), (16, 32), (32, 40), (40, 50), (50, 66), (66, 75)]
    # Regions of earlier rounds keep their tables.
    old = [one.shard for one in run.requests(1, "score")]
    assert [one.shard for one in run.requests(3, "score")][: len(old)] == old
    for step in ("score", "select", "ask", "label", "train", "evaluate"):
        for round_, version in ((2, 2), (3, 3)):
            for request in run.requests(round_, step):
                if request.HasField("manifest"):
                    assert request.manifest == ref("manifest", version), (round_, step)


def test_picture_and_summary_say_which_version_a_round_had():
    run = growing(people("street_entropy", budget__rounds=3), {2: 2, 3: 3})
    shown = view(run.state)
    assert [one.data.version for one in shown.rounds] == [1, 1, 2, 3]
    assert [one.data.images for one in shown.rounds] == [40, 40, 50, 75]
    assert manifest_of(shown) == ref("manifest", 3)
    assert manifest_of(shown, 2) == ref("manifest", 2)
    assert len(objects(run.state, "shards", 0)) == 6
    told = summary(shown, [()] * 4, {})
    assert [one["data_version"] for one in told["rounds"]] == [1, 1, 2, 3]
    assert told["pool"]["images"] == 75
    # Of the pool of the last round, so that the curve over the labelled share rises.
    regions = [one["regions_labelled"] / one["regions_fraction"] for one in told["rounds"]]
    assert regions == pytest.approx([shown.rounds[-1].data.regions] * 4)


def test_the_log_alone_gives_the_same_state_and_plan():
    run = growing(people("street_entropy", budget__rounds=2), {1: 3})
    assert fold(type(run.state)(), run.events) == run.state
    for step in run.state.steps.values():
        assert len(plan.jobs(run.state, step)) == len(step.job_keys)


def test_each_run_and_round_looks_for_itself():
    recipe = people("street_entropy", budget__rounds=2)
    one, other = (growing(recipe, {}, run_id=name) for name in ("run-1", "run-2"))
    requests = [run.requests(round_, "take")[0] for run in (one, other) for round_ in (1, 2)]
    assert len({(request.run_id, request.round) for request in requests}) == 4
    assert {request.series for request in requests} == {"camera"}


def test_a_pool_that_is_used_up_goes_on_if_images_arrive():
    recipe = people("street_entropy", budget__per_round=640, budget__rounds=2)
    assert growing(recipe, {}).end == plan.Finish("pool_exhausted")
    assert growing(recipe, {2: 3}).end == plan.Finish("spent")


def test_a_run_on_a_fixed_data_set_takes_up_nothing():
    run = walk(spec_of(load("street_entropy")))
    assert not any(one.step == "take" for one in run.started)
    assert all("data_version" not in one for one in summary(view(run.state), [()] * 9, {})["rounds"])


def test_labels_that_came_with_the_images_are_the_first_answers():
    recipe = people("street_entropy", budget__rounds=1)
    spec = spec_of(recipe)
    del spec.dataset.labels["train"]
    spec.dataset.given.CopyFrom(ref("labels", "given"))
    run = walk(spec)
    assert [one.step for one in run.started if one.round == 0] == ["partition", "label", "train", "evaluate"]
    (request,) = run.requests(0, "label")
    assert request.imported
    assert request.labels == spec.dataset.given
    assert request.oracle.name == "imported"
    assert not request.HasField("selection")
    (selecting,) = run.requests(1, "select")
    assert len(selecting.ledgers) == 1
    taken = run.world.rows[selecting.ledgers[0].sha256]
    assert not set(taken) & set(run.world.rows[run.requests(1, "ask")[0].selection.sha256])


@pytest.mark.parametrize("name", ["street_entropy", "street_meal", "best_practices_camvid_entropy_ssl"])
def test_labels_of_images_that_join_are_answers_of_that_round(name):
    run = growing(people(name, budget__rounds=3, budget__unit="regions", budget__per_round=6), {2: 2, 3: 3}, (2,))
    assert isinstance(run.end, plan.Finish), run.end
    steps = [one.step for one in run.started if one.round == 2]
    assert steps[:3] == ["take", "partition", "given"]
    assert not any(one.step == "given" for one in run.started if one.round != 2)
    (request,) = run.requests(2, "given")
    assert (request.imported, request.oracle.name, request.context.round) == (True, "imported", 2)
    assert request.labels == ref("given", 2)
    assert [shard.images.start for shard in request.shards] == [40]  # of the images that joined alone
    came = run.world.answer(plan.Job("Answer", request)).ledger
    rows = set(run.world.rows[came.sha256])
    # Known to every choice from then on, so that nobody is asked; learned from from then on; never before.
    for step in ("discriminate", "candidates", "shortlist", "select"):
        for round_ in (1, 2, 3):
            for asked in run.requests(round_, step) if (round_, step) in run.state.steps else ():
                if hasattr(asked, "ledgers"):
                    assert (came in asked.ledgers) is (round_ > 1), (round_, step)
    for round_ in range(4):
        assert (came in run.requests(round_, "train")[0].ledgers) is (round_ > 1)
    chosen = [set(run.world.rows[one.jobs[0].request.selection.sha256]) for one in run.started if one.step == "ask"]
    assert all(not rows & one for one in chosen)
    assert [len(one) for one in chosen[1:]] == [6, 6, 6]  # the budget pays for none of them
    shown = view(run.state)
    assert [one.HasField("given") for one in shown.rounds] == [False, False, True, False]
    assert shown.rounds[2].given == came
    assert shown.rounds[2].cost.regions == 6 + 4
    assert shown.rounds[2].cost.clicks == 60
    told = summary(shown, [()] * 4, {})["rounds"]
    assert told[2]["regions_labelled"] - told[1]["regions_labelled"] == 10


def test_a_share_of_the_pool_is_asked_whatever_came_with_labels():
    recipe = people("street_entropy", budget__rounds=2, budget__unit="percent", budget__per_round=10)
    with_labels, without = (growing(recipe, {2: 2}, labelled) for labelled in ((2,), ()))
    for round_ in (1, 2):
        amounts = [run.requests(round_, "select")[0].budget.amount for run in (with_labels, without)]
        assert amounts[0] == amounts[1]


def test_a_pool_whose_rest_came_with_labels_is_used_up():
    run = growing(people("street_entropy", budget__rounds=2, budget__per_round=800), {2: 2}, (2,))
    # 40 images of 16 regions, then 10 more of which 4 regions came with labels.
    assert run.requests(2, "select")[0].budget.amount == 10 * 16 - 4


def test_each_run_and_round_has_its_own_ledger_of_labels_that_came():
    recipe = people("street_entropy", budget__rounds=3)
    seeds = {growing(recipe, {at: 2}, (2,)).requests(at, "given")[0].seed for at in (1, 2, 3)}
    assert len(seeds) == 3  # the round is a column of the ledger, and not in the key of its job


def test_labels_that_came_cost_nothing_of_the_budget():
    recipe = people("street_entropy", budget__rounds=1, budget__unit="percent", budget__per_round=10)
    spec = spec_of(recipe)
    spec.dataset.given.CopyFrom(ref("labels", "given"))
    (selecting,) = walk(spec).requests(1, "select")
    assert selecting.budget.amount == 64  # 10 % of 640 regions


@pytest.mark.parametrize("by_people", [True, False], ids=["people", "simulated"])
@pytest.mark.parametrize("name", KINDS)
def test_nothing_but_the_evaluation_sees_the_evaluation_set(name, by_people):
    changes = {"evaluation__images": 5, "budget__rounds": 2, "evaluate": ["val"]}
    recipe = people(name, **changes) if by_people else load(name, **changes)
    spec = spec_of(recipe, train=400, val=5)
    labels = {split: spec.dataset.labels[split] for split in ("train", "val", "test")}
    for split in labels:
        if split != "train" or by_people:
            del spec.dataset.labels[split]
    run = walk(spec)
    assert isinstance(run.end, plan.Finish), run.end
    steps = [one.step for one in run.started]
    asked = ["val_ask", "val_collect"] if by_people else []
    assert steps[: steps.index("partition")] == ["val_partition", "val_select", *asked, "val_label"]
    (label,) = run.requests(0, "val_label")
    assert label.labels_of == "val"
    assert json.loads(run.requests(0, "val_partition")[0].partition.parameters) == {}
    assert label.query.name == "mask"
    made = run.world.answer(plan.Job("Answer", label)).labels
    for started in run.started:
        for job in started.jobs:
            splits = {one.split for one in ranges(job.request)}
            mine = started.step.startswith("val_") or started.step == "evaluate"
            assert splits <= ({"val"} if mine else {"train"}), (started.step, splits)
            sees = made.sha256 in {one.sha256 for one in references(job.request)}
            may = started.step == "evaluate" or (started.step == "train" and recipe.checkpoint == "best_val")
            assert sees == may, started.step


def test_an_evaluation_set_stays_as_it_is_when_images_arrive():
    recipe = people("street_entropy", evaluation__images=10, budget__rounds=2, evaluate=["val"])
    pools = {1: 40, 2: 50}
    spec = spec_of(recipe, train=40, val=10)
    spec.series, spec.version = "camera", 1
    for split in ("train", "val", "test"):
        del spec.dataset.labels[split]
    run = walk(spec, World(pools=pools, arrivals={1: 2}, others={"val": 10}))
    labels = {request.labels.sha256 for round_ in range(3) for request in run.requests(round_, "evaluate")}
    images = {(one.images.start, one.images.end) for round_ in range(3) for one in run.requests(round_, "evaluate")}
    assert len(labels) == 1
    assert images == {(0, 10)}


def test_labelled_val_images_are_used_where_there_are_some():
    run = walk(spec_of(load("street_entropy", evaluation__images=5)))
    assert not any(one.step.startswith("val_") for one in run.started)


def test_a_run_without_val_says_how_to_have_one():
    spec = spec_of(people("street_entropy", evaluate=["val"]), val=0)
    with pytest.raises(BadInput, match="evaluation"):
        plan.check(spec)


def test_the_draw_depends_on_ids_and_seed_alone():
    ids = [f"i{number}" for number in range(200)]
    drawn = chosen(ids, 20, 0)
    assert drawn == chosen(reversed(ids), 20, 0)
    assert len(drawn) == 20
    assert drawn != chosen(ids, 20, 1)
    # Uniform: over many seeds every image is drawn about equally often (binomial, 400 draws of 0.1).
    counts = {one: 0 for one in ids}
    for seed in range(400):
        for one in chosen(ids, 20, seed):
            counts[one] += 1
    assert min(counts.values()) > 15
    assert max(counts.values()) < 70


def test_recipes_without_an_evaluation_set_read_as_before():
    text = load("street_entropy").canonical()
    assert "evaluation" not in json.loads(text)
    assert from_canonical(text).canonical() == text


def test_a_comparison_says_where_versions_differ():
    def run(seed: int, *versions: int) -> dict[str, Any]:
        return {"recipe": "a", "seed": seed, "rounds": [{"data_version": one} for one in versions]}

    assert differing_versions([run(0, 1, 1, 2), run(1, 1, 1, 2)]) == ""
    assert differing_versions([run(0, 1, 1), run(1, 1, 1, 2)]) == ""
    said = differing_versions([run(0, 1, 1, 2), run(1, 1, 2, 2)])
    assert "a (seed 0) 1, 1, 2; a (seed 1) 1, 2, 2" in said
    assert differing_versions([{"recipe": "a", "seed": 0, "rounds": [{}]}] * 1) == ""
