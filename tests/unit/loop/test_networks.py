"""Columns that need more than one plain pass: which networks are trained when, and which recipes are refused."""

from __future__ import annotations

import json
import re

import pytest

from tessera.errors import BadInput
from tessera.loop import networks, plan
from tessera.loop.facts import Facts
from tessera.loop.reading import from_canonical, parse
from tessera.loop.reducer import RunState
from tessera.pb.runs_pb2 import RunSpec
from tessera.pb.trainer_pb2 import TrainResponse
from unit.loop.simulator import mapping, spec_of, walk

ENTROPY = {"name": "entropy", "aggregate": "mean"}
LABELEDNESS = {"name": "labeledness", "aggregate": "mean", "epochs": 3}
VAAL = {"name": "vaal", "aggregate": "mean", "epochs": 2}
LOWEST = [{"name": "top", "by": "labeledness_mean", "descending": False}]


def recipe(score, stages=({"name": "top", "by": "entropy_mean"},), **changes):
    whole = mapping("street_entropy")
    whole["score"] = list(score)
    whole["selection"] = {**whole["selection"], "stages": list(stages)}
    return parse(whole, {"budget.rounds": 2, **changes})


def facts_of(recipe):
    return Facts(RunState(spec=RunSpec()), recipe)


def test_networks_are_trained_before_scoring_from_the_first_round_on():
    run = walk(spec_of(recipe([ENTROPY, LABELEDNESS, VAAL]), train=20))
    assert isinstance(run.end, plan.Finish)
    order = [(one.round, one.step) for one in run.started]
    assert [place for place in order if place[1] == "discriminate"] == [(1, "discriminate"), (2, "discriminate")]
    assert all(order.index((round_, "score")) == order.index((round_, "discriminate")) + 1 for round_ in (1, 2))
    for round_ in (1, 2):
        labeledness, vaal = run.requests(round_, "discriminate")
        assert (labeledness.auxiliary.name, vaal.auxiliary.name) == ("discriminator", "vaal")
        assert json.loads(labeledness.auxiliary.parameters)["epochs"] == 3
        # The model of the round before, and every answer so far: what the round's own scores are made from.
        score = run.requests(round_, "score")[0]
        assert labeledness.model == score.model
        assert not vaal.HasField("model")
        assert len(labeledness.ledgers) == len(vaal.ledgers) == round_
        assert list(labeledness.shards) == [one.shard for one in run.requests(round_, "score")]
        assert [one.auxiliary for one in score.auxiliary] == [labeledness.auxiliary, vaal.auxiliary]
        assert score.auxiliary[0].weights.sha256
        assert score.columns[1].score.parameters == labeledness.auxiliary.parameters
        for request in (labeledness, vaal):
            assert "labels" not in {field.name for field, _ in request.ListFields()}
    assert run.requests(1, "discriminate")[0].seed != run.requests(2, "discriminate")[0].seed


def test_columns_with_equal_parameters_share_a_network_and_others_do_not():
    twice = [LABELEDNESS, {**LABELEDNESS, "column": "again"}, {**LABELEDNESS, "epochs": 4, "column": "longer"}]
    found = networks.auxiliaries(recipe([ENTROPY, *twice]))
    assert [json.loads(one.axis.parameters)["epochs"] for one in found] == [3, 4]
    assert [one.needs_model for one in found] == [True, True]


def test_recipes_without_such_columns_have_no_such_step():
    made = recipe([ENTROPY])
    assert networks.auxiliaries(made) == []
    assert all("discriminate" not in list(plan.steps(facts_of(made), round_)) for round_ in range(3))


def minimax(score, stages=LOWEST, **changes):
    whole = mapping("mal_camvid_mal")
    whole["score"] = list(score)
    whole["selection"] = {**whole["selection"], "stages": list(stages)}
    return parse(whole, {"budget.rounds": 2, **changes})


PLAIN = {"name": "labeledness", "aggregate": "mean"}


def test_a_network_that_the_training_leaves_is_not_trained_again():
    run = walk(spec_of(minimax([ENTROPY, PLAIN, VAAL]), train=40))
    assert isinstance(run.end, plan.Finish)
    for round_ in (1, 2):
        (vaal,) = run.requests(round_, "discriminate")
        assert vaal.auxiliary.name == "vaal"
        trained = run.state.steps[round_ - 1, "train"].responses(TrainResponse)[0]
        for request in run.requests(round_, "score"):
            assert request.model == trained.model
            by_name = {one.auxiliary.name: one for one in request.auxiliary}
            assert by_name.keys() == {"discriminator", "vaal"}
            # Of the round before, and found by the column that reads it.
            assert by_name["discriminator"].weights == trained.extras["discriminator"]
            assert by_name["discriminator"].auxiliary.parameters == request.columns[1].score.parameters
    alone = minimax([PLAIN])
    assert all("discriminate" not in list(plan.steps(facts_of(alone), round_)) for round_ in range(3))


def test_without_its_own_discriminator_the_separate_step_is_back():
    made = minimax([PLAIN], **{"training.discriminator": None})
    assert "discriminate" in list(plan.steps(facts_of(made), 1))
    assert walk(spec_of(made, train=40)).requests(1, "discriminate")[0].auxiliary.name == "discriminator"


@pytest.mark.parametrize(
    ("score", "changes", "message"),
    [
        ([{**PLAIN, "pool": 2}], {}, "labeledness.pool is 2, but training mal trains the discriminator itself"),
        ([{**PLAIN, "tap": "aspp"}], {}, "set it to decoder"),
        ([{**PLAIN, "epochs": 3}], {}, "labeledness.epochs is 3"),
        ([PLAIN], {"training.discriminator.pool": 2}, "labeledness.pool is 4"),
        ([PLAIN], {"partition": {"name": "grid", "rows": 2, "cols": 2}}, "judges whole images; use partition image"),
        ([PLAIN], {"checkpoint": "best_val", "acquisition_model": "kept"}, "belongs to the last epoch; set it to last"),
        ([PLAIN], {"model.temperature": None}, "the classifier of deeplabv3plus_mobilenetv2 is linear; set model.temp"),
    ],
)
def test_what_does_not_fit_a_training_with_its_own_network_is_named(score, changes, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        minimax(score, **changes)


def test_vaal_alone_needs_no_model():
    stages = [{"name": "top", "by": "vaal_mean", "descending": False}]
    made = recipe([VAAL], stages)
    assert not made.needs_model()
    run = walk(spec_of(made, train=20))
    assert not run.requests(1, "score")[0].HasField("model")
    assert isinstance(run.end, plan.Finish)


def test_the_canonical_text_keeps_the_parameters_and_reads_back():
    made = recipe([ENTROPY, LABELEDNESS, {"name": "bald"}], LOWEST, **{"model.mc_dropout": 0.1})
    again = from_canonical(made.canonical())
    assert again == made
    assert [one.axis for one in networks.auxiliaries(again)] == [one.axis for one in networks.auxiliaries(made)]


def test_labeledness_works_from_a_random_start():
    made = recipe([LABELEDNESS], LOWEST, **{"model.pretrained": "random"})
    assert isinstance(walk(spec_of(made, train=20)).end, plan.Finish)


@pytest.mark.parametrize(
    ("score", "stages", "message"),
    [
        (
            [ENTROPY, {"name": "bald"}],
            None,
            "score.1: bald compares passes with dropout in the decoder, and the model has",
        ),
        (
            [LABELEDNESS],
            [{"name": "top", "by": "labeledness_mean"}],
            "selection.stages.0: top takes the highest labele",
        ),
        ([VAAL], [{"name": "top", "by": "vaal_mean"}], "set descending: false"),
        (
            [{**LABELEDNESS, "aggregate": "max"}],
            LOWEST,
            "labeledness is one value per region, so it cannot be aggregated",
        ),
        ([{"name": "labeledness", "tap": "logits"}], LOWEST, "labeledness.tap"),
        ([{"name": "vaal", "size": 50}], None, "vaal.size"),
        ([{"name": "bald", "passes": 1}], None, "bald.passes"),
        ([{"name": "equal", "alligned": False}], None, "alligned"),
    ],
)
def test_pairings_that_cannot_work_are_named(score, stages, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        recipe(score, stages or [{"name": "random"}])


def test_a_network_that_classifies_whole_images_refuses_parts_of_them():
    def refused(partition):
        whole = mapping("mal_cifar10_random")
        whole["partition"] = partition
        with pytest.raises(BadInput, match=r"resnet18 classifies whole images, and partition grid .*partition image"):
            parse(whole)

    refused({"name": "grid", "rows": 2, "cols": 2})
    parse(mapping("mal_cifar10_random"))
