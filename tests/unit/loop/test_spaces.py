"""Embedding spaces of the head and of the memory bank: what is planned for them, and what is refused."""

from __future__ import annotations

import pytest

from tessera.errors import BadInput
from tessera.loop import plan
from unit.loop.simulator import load, spec_of, walk

HEAD = {"selection__embedding__features": {"name": "aspp"}, "budget__rounds": 2}
BANK = {
    "selection__embedding__features": {"name": "decoder"},
    "selection__embedding__fit_on": "bank",
    "training__memory_bank": {"tap": "decoder"},
    "budget__rounds": 2,
}


def played(**changes):
    return walk(spec_of(load("street_meal", **changes)))


def test_features_of_the_head_are_fitted_each_round_on_the_pool_of_the_round_before():
    run = played(**HEAD)
    assert isinstance(run.end, plan.Finish)
    for round_ in (1, 2):
        names = [one.step for one in run.started if one.round == round_]
        assert names == ["score", "featurize", "fit", "shortlist", "select", "label", "train", "evaluate"]
        (before,) = run.requests(round_ - 1, "train")
        model = run.world.answer(run.step(round_ - 1, "train").jobs[0]).model
        assert model.classes == before.classes
        for request in run.requests(round_, "featurize"):
            assert request.model == model
            assert request.features.name == "aspp"
        fit = run.world.answer(run.step(round_, "fit").jobs[0])
        assert run.requests(round_, "select")[0].embedding == fit.embedding
        assert run.requests(round_, "select")[0].HasField("candidates")
    one, two = (run.requests(round_, "fit")[0] for round_ in (1, 2))
    assert one.shards != two.shards


def test_features_of_the_backbone_are_fitted_once_with_pretrained_weights():
    run = played(budget__rounds=2)
    assert {request.model.classes for request in run.requests(1, "featurize")} == {0}
    assert [one.round for one in run.started if one.step == "fit"] == [1]
    context = {"name": "backbone", "context": "image"}
    assert [
        one.round
        for one in played(budget__rounds=2, selection__embedding__features=context).started
        if one.step == "fit"
    ] == [1]


@pytest.mark.parametrize("shortlist", [True, False])
def test_a_projection_is_fitted_each_round_on_the_bank_of_the_round_before(shortlist):
    run = played(**BANK, **({} if shortlist else {"selection__shortlist": []}))
    assert isinstance(run.end, plan.Finish)
    for round_ in (1, 2):
        names = [one.step for one in run.started if one.round == round_]
        wanted = ["score", "fit", *(["shortlist"] if shortlist else []), "candidates", "project"]
        assert names[: len(wanted) + 1] == [*wanted, "select"]
        left = run.world.answer(run.step(round_ - 1, "train").jobs[0])
        (fit,) = run.requests(round_, "fit")
        assert fit.bank == left.extras["memory_bank"]
        assert not fit.shards
        assert all(request.model == left.model for request in run.requests(round_, "candidates"))
        (project,) = run.requests(round_, "project")
        assert project.projection == run.world.answer(run.step(round_, "fit").jobs[0]).projection
        embedding = run.world.answer(run.step(round_, "project").jobs[0]).embedding
        assert run.requests(round_, "select")[0].embedding == embedding
    assert run.requests(1, "fit")[0].bank != run.requests(2, "fit")[0].bank


def test_a_training_that_left_no_bank_ends_the_run_with_a_sentence():
    from unit.loop.simulator import World

    class Old(World):
        def _train(self, request):
            made = super()._train(request)
            made.extras.clear()
            return made

    end = walk(spec_of(load("street_meal", **BANK)), Old()).end
    assert isinstance(end, plan.Fail)
    assert "round 0: the training left no memory_bank" in end.message


PROJECTION = {"selection__embedding__features": {"name": "projection"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (PROJECTION, "the model has no such head; set model.projection_head"),
        ({**PROJECTION, "model__projection_head": 128}, "does not train the projection head; use decoder, or"),
        ({"training__memory_bank": {"tap": "decoder"}}, "training.memory_bank: nothing reads it"),
        ({**BANK, "training__memory_bank": None}, "but the training fills none; add training.memory_bank: {tap: dec"),
        ({**BANK, "training__memory_bank": {"tap": "aspp"}}, "the features of regions are decoder; set it to decoder"),
        ({**BANK, "training__memory_bank": {}}, "training.memory_bank.tap: projection, but the model has no proj"),
        (
            {**BANK, "selection__embedding__features": {"name": "badge"}},
            "features badge with these parameters exist for regions only",
        ),
        (
            {**BANK, "selection__embedding__features": {"name": "aspp", "grid": [2, 2]}},
            "features aspp with these parameters exist for regions only",
        ),
        (
            {**BANK, "selection__embedding__features": {"name": "backbone"}},
            "features backbone with these parameters exist for regions only",
        ),
        (
            {"selection__embedding__features": {"name": "backbone", "layer": "last_convolution"}},
            "the model does not have it; set model.last_convolution: true",
        ),
        ({"selection__embedding__features": {"name": "aspp", "grid": [0, 2]}}, "grid"),
    ],
)
def test_what_nothing_provides_is_refused(changes, message):
    with pytest.raises(BadInput) as refused:
        load("street_meal", **changes)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__projection_head": 128, "selection__embedding__features": {"name": "projection", "untrained": True}},
        {"model__last_convolution": True,
         "selection__embedding__features": {"name": "backbone", "layer": "last_convolution"}},
        {"selection__embedding__features": {"name": "badge", "sketch": 256}},
        {"selection__embedding__features": {"name": "softmax_histogram", "of": "both"}},
        {**BANK, "selection__embedding__features": {"name": "backbone", "context": "image"},
         "training__memory_bank": {"tap": "backbone"}},
        {**BANK, "model__projection_head": 32, "training__memory_bank": {},
         "selection__embedding__features": {"name": "projection", "untrained": True}},
    ],
)  # fmt: skip
def test_what_makes_sense_is_planned_to_its_end(changes):
    assert isinstance(played(**{**changes, "budget__rounds": 1}).end, plan.Finish)


CONTRAST = {"training": {"name": "contrastive", "frozen": True}, "model__projection_head": 32}


def test_contrastive_training_brings_its_projection_head_and_bank():
    run = played(
        **CONTRAST,
        selection__embedding__features={"name": "projection"},
        selection__embedding__fit_on="bank",
        budget__rounds=1,
    )
    assert isinstance(run.end, plan.Finish)
    (fit,) = run.requests(1, "fit")
    assert fit.HasField("bank")
    # The bank serves the training itself, so nobody else need read it.
    assert isinstance(played(**CONTRAST, budget__rounds=1).end, plan.Finish)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__weight": 0}, "training.memory_bank: nothing reads it"),
        ({"model__projection_head": None}, "the model has no projection head; set model.projection_head, or tap deco"),
        (
            {"training__weight": 0, "selection__embedding__features": {"name": "projection"}},
            "training contrastive does not train the projection head",
        ),
    ],
)
def test_contrast_that_cannot_work_is_refused(changes, message):
    with pytest.raises(BadInput) as refused:
        load("street_meal", **{**CONTRAST, **changes})
    assert message in str(refused.value)
