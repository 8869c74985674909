"""A run whose questions people answer: its steps, its requests, and what is never computed again."""

from __future__ import annotations

import json

import pytest

from tessera.loop import healing, plan
from tessera.loop.people import params
from tessera.loop.reducer import RunState, apply
from tessera.loop.view import view
from unit.loop.simulator import job_done, key_of, load, ref, spec_of, step_started, submitted, walk

NAME = "meal_camvid_meal_frozen"


def recipe(**changes):
    return load(NAME, oracle={"name": "human", "overlap": 2}, budget__rounds=1, **changes)


def test_people_are_asked_between_selection_and_ledger():
    walked = walk(spec_of(recipe()))
    assert walked.end == plan.Finish("spent")
    for round_ in (0, 1):
        names = [one.step for one in walked.started if one.round == round_]
        at = names.index("select")
        assert names[at : at + 5] == ["select", "ask", "collect", "label", "train"]
        (ask,), (collect,), (label,) = (walked.requests(round_, name) for name in ("ask", "collect", "label"))
        (select,) = walked.step(round_, "select").jobs
        chosen = walked.world.answer(select).selection
        assert ask.selection == label.selection == chosen
        assert ask.seed == label.seed, "the points of a pixel query are those that are priced"
        assert ask.HasField("model") == (round_ > 0)
        assert collect.questions == walked.world.answer(walked.step(round_, "ask").jobs[0]).questions
        assert label.answers == walked.world.answer(walked.step(round_, "collect").jobs[0]).answers
        # What people say takes the place of the truth, in every request.
        assert not label.HasField("labels")
        assert json.loads(collect.oracle.parameters)["overlap"] == params(recipe()).overlap == 2
        assert not collect.HasField("budget")


def test_a_simulated_run_is_planned_as_ever():
    walked = walk(spec_of(load(NAME, budget__rounds=1)))
    assert not {"ask", "collect"} & {one.step for one in walked.started}
    assert walked.requests(0, "label")[0].HasField("labels")


def test_a_budget_in_clicks_travels_to_the_people():
    changes = {"budget__unit": "clicks", "budget__initial": 400, "budget__per_round": 400}
    walked = walk(spec_of(recipe(**changes)))
    (collect,) = walked.requests(1, "collect")
    assert (collect.budget.unit, collect.budget.amount) == ("clicks", walked.requests(1, "select")[0].budget.amount)
    assert not walked.requests(1, "label")[0].HasField("budget"), "what was answered was asked"


def test_train_labels_may_be_missing_where_people_answer():
    spec = spec_of(recipe())
    del spec.dataset.labels["train"]
    assert plan.check(spec).oracle.name == "human"
    assert walk(spec).end == plan.Finish("spent")


def test_two_runs_that_ask_the_same_share_the_answers():
    first, second = (walk(spec_of(recipe(), run_id=name)) for name in ("one", "two"))
    keys = [[key_of("Collect", one.requests(round_, "collect")[0]) for round_ in (0, 1)] for one in (first, second)]
    assert keys[0] == keys[1]
    other = walk(spec_of(recipe(), seed=8))
    assert key_of("Collect", other.requests(0, "collect")[0]) != keys[0][0]


def test_the_run_waits_until_people_have_answered():
    walked = walk(spec_of(recipe()))
    state = apply(RunState(), submitted(walked.state.spec))
    while (action := plan.next_action(state)) and isinstance(action, plan.StartStep):
        state = apply(state, step_started(action))
        if action.step == "collect":
            break
        for job in action.jobs:
            state = apply(state, job_done(key_of(job.method, job.request), job.method, walked.world.answer(job)))
    assert plan.next_action(state) == plan.Wait()
    (job,) = action.jobs
    state = apply(state, job_done(key_of(job.method, job.request), job.method, walked.world.answer(job)))
    assert plan.next_action(state).step == "label"


def test_what_people_said_is_never_made_again_but_its_ledger_is():
    state = walk(spec_of(recipe())).state
    (collect,), (label,) = (state.steps[0, name].job_keys for name in ("collect", "label"))
    assert "people gave these answers" in healing.refusal(state, collect)
    assert healing.refusal(state, label) is None


def test_skipped_regions_are_not_chosen_again_and_teach_nothing():
    spec = spec_of(recipe())

    class Skipping(type(walk(spec).world)):
        def _answer(self, request):
            made = super()._answer(request)
            made.skipped.CopyFrom(self._table("skipped", [(0, 0)]))
            return made

    walked = walk(spec, Skipping())
    (select,), (train,) = walked.requests(1, "select"), walked.requests(1, "train")
    assert ref("skipped", [(0, 0)]).sha256 in {one.sha256 for one in select.ledgers}
    assert ref("skipped", [(0, 0)]).sha256 not in {one.sha256 for one in train.ledgers}


@pytest.mark.parametrize("unit", ["seconds", "clicks"])
def test_a_measured_budget_pays_for_what_was_skipped_too_and_carries_on(unit):
    """Each round may take what is planned until then, less all that people took: recounted from what they took."""
    spec = spec_of(load("street_multi_class", oracle={"name": "human"}, **{
        "budget__unit": unit, "budget__initial": 100, "budget__per_round": 50, "budget__rounds": 3,
    }))  # fmt: skip
    took = {0: 130.5, 1: 40.25, 2: 61.0}

    class Measuring(type(walk(spec).world)):
        def _collect(self, request):
            made = super()._collect(request)
            seconds = took.get(request.context.round, 0.0)
            made.measured_seconds, made.measured_clicks = seconds, int(4 * seconds)
            return made

        def _answer(self, request):
            # The ledger knows less: some of it went into questions that were skipped.
            made = super()._answer(request)
            made.cost.measured_seconds, made.cost.measured_clicks = 1.0, 1
            return made

    world = Measuring()
    walked = walk(spec, world)
    spent = 0.0
    for round_ in range(4):
        (collect,) = walked.requests(round_, "collect")
        planned = 100 + 50 * round_
        # One question is asked at least.
        assert collect.budget.amount == pytest.approx(max(planned - spent, collect.budget.cheapest))
        spent += took.get(round_, 0.0) if unit == "seconds" else int(4 * took.get(round_, 0.0))
    shown = view(walked.state)
    assert [one.cost.measured_seconds for one in shown.rounds] == [130.5, 40.25, 61.0, 1.0]
