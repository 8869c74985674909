"""Budgets in every unit: what the selector is offered, where the oracle stops, and what is left for the next round."""

from __future__ import annotations

import pytest

from tessera.errors import BadInput
from tessera.loop.budget import remaining
from tessera.loop.plan import Fail, Finish
from tessera.loop.view import view
from tessera.pb.oracle_pb2 import Cost
from tessera.units import BUDGETS, PoolSize
from unit.loop.simulator import PRICE, load, spec_of, walk

MULTI = {"query": {"name": "multi_class"}, "training__without_pixels": "skip"}


def played(train=40, **changes):
    return walk(spec_of(load("street_random", **{"budget__rounds": 3, **changes}), train=train))


def costs(walked):
    return [one.cost for one in view(walked.state).rounds]


@pytest.mark.parametrize(("unit", "per_round"), [("clicks", 50), ("seconds", 123.4)])
def test_the_oracle_stops_at_the_price_and_the_rest_carries_on(unit, per_round):
    walked = played(budget__unit=unit, budget__per_round=per_round, **MULTI)
    assert walked.end == Finish("spent")
    spent, dearest = 0.0, 0.0
    for round_ in range(1, 4):
        (offer,) = walked.requests(round_, "select")
        (asked,) = walked.requests(round_, "label")
        assert offer.budget == asked.budget
        assert asked.budget.cheapest == {"clicks": 1, "seconds": 7.28}[unit]
        assert asked.budget.amount == pytest.approx(per_round * round_ - spent), "what was overspent is missing now"
        ranking = walked.world.rows[asked.selection.sha256]
        cost = costs(walked)[round_]
        answered = ranking[: cost.regions]
        prices = [PRICE[unit](row) for row in answered]
        assert len(answered) < len(ranking), "the ranking is long enough"
        assert sum(prices) >= asked.budget.amount
        assert sum(prices[:-1]) < asked.budget.amount
        spent += sum(prices)
        dearest = max(dearest, *prices)
    assert 0 <= spent - 3 * per_round < dearest, "one answer too many at most, over all rounds"


def test_what_was_asked_is_what_was_chosen():
    walked = played(budget__unit="clicks", budget__per_round=50, **MULTI)
    made = view(walked.state)
    for round_ in (1, 2, 3):
        offered = walked.requests(round_, "label")[0].selection
        shown = made.rounds[round_]
        asked = walked.world.rows[shown.selection.sha256]
        assert shown.selection != offered
        assert asked == walked.world.rows[offered.sha256][: shown.cost.regions]
        assert asked == walked.world.rows[shown.ledger.sha256]
        assert len(shown.selection_sha256) == 64
    taken = [row for one in made.rounds for row in walked.world.rows[one.ledger.sha256]]
    assert len(taken) == len(set(taken)), "what was offered and not asked can be chosen again, what was asked cannot"


def test_the_first_set_has_a_budget_too_where_the_recipe_gives_one():
    changes = {"selection__initial": [{"name": "random"}], "budget__initial": 30, "budget__per_round": 20}
    walked = played(budget__unit="clicks", **changes, **MULTI)
    assert walked.requests(0, "label")[0].budget.amount == 30
    spent = [cost.clicks for cost in costs(walked)]
    for round_ in range(4):
        assert 0 <= sum(spent[: round_ + 1]) - 30 - 20 * round_ < 4
    counted = played(budget__unit="regions", **changes)
    assert [cost.regions for cost in costs(counted)] == [30, 20, 20, 20]
    assert not counted.requests(0, "label")[0].HasField("budget")


def test_without_it_the_initial_stages_decide():
    walked = played(budget__unit="clicks", budget__per_round=50, **MULTI)
    assert not walked.requests(0, "label")[0].HasField("budget") or walked.requests(0, "label")[0].budget.amount == 0
    assert costs(walked)[0].regions == 32


def test_percent_is_met_exactly_in_regions():
    walked = played(budget__unit="percent", budget__per_round=1.3)
    # 640 regions: 8.32, 16.64, 24.96 of them after the first 32.
    assert [cost.regions for cost in costs(walked)] == [32, 8, 8, 8]
    walked = played(budget__unit="percent", budget__per_round=0.1, budget__rounds=2)
    assert [cost.regions for cost in costs(walked)] == [32, 1, 1], "a round asks at least one question"
    assert isinstance(played(budget__unit="percent", budget__per_round=40).end, Fail)


def test_single_pixels_are_priced_by_the_answer():
    walked = played(budget__unit="pixels", budget__per_round=25, query={"name": "pixel", "pixels": 3})
    assert walked.requests(1, "select")[0].budget.unit == "clicks", "the selector would count the regions' pixels"
    assert walked.requests(1, "label")[0].budget.unit == "pixels"
    assert all(0 <= sum(c.pixels for c in costs(walked)[1 : r + 1]) - 25 * r < 3 for r in (1, 2, 3))


def test_pixels_carry_over():
    walked = played(budget__unit="pixels", budget__per_round=450, budget__rounds=2)
    # 100 pixels per region: the selector of the simulator takes as many regions as it is given pixels' worth.
    amounts = [walked.requests(round_, "select")[0].budget.amount for round_ in (1,)]
    assert amounts == [450]


def test_a_pool_that_is_used_up_ends_the_run():
    walked = played(train=3, budget__unit="clicks", budget__per_round=100, budget__rounds=5, **MULTI)
    assert walked.end == Finish("pool_exhausted")
    assert sum(cost.regions for cost in costs(walked)) == 48


def test_what_is_left_of_a_pool():
    pool = PoolSize(regions=200, images=20, pixels=9000)
    spent = [Cost(regions=50, images=3, pixels=1000, clicks=70, labelling_seconds=9.5)]
    left = {unit: remaining(unit, pool, spent) for unit in BUDGETS}
    infinite = float("inf")
    assert left == {
        "regions": 150, "images": 17, "pixels": 8000, "percent": 75, "clicks": infinite, "seconds": infinite,
    }  # fmt: skip
    assert remaining("clicks", pool, [Cost(regions=200)]) == 0


REFUSED = [
    ({"budget__unit": "clicks", "budget__per_round": 1.5}, "per_round counts clicks and must be whole"),
    ({"budget__unit": "clicks", "budget__initial": 1.5}, "initial counts clicks and must be whole"),
    ({"budget__initial": 0}, "budget.initial: Input should be greater than 0"),
    ({"budget__unit": "percent", "budget__per_round": 101}, "101 percent of the pool; give at most 100"),
    ({"query": {"name": "image"}}, "query: image asks about whole images, but partition grid"),
    ({"oracle": {"name": "missed_classes"}}, "query mask is answered pixel by pixel"),
    ({"query": {"name": "multi_class"}}, "for regions of a single class only; set training.without_pixels to skip"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_asked_or_learnt_is_refused_with_its_remedy(changes, message):
    with pytest.raises(BadInput) as caught:
        load("street_random", **changes)
    assert message in str(caught.value)


def test_pairings_that_work():
    load("street_random", query={"name": "dominant"}, oracle={"name": "missed_classes"})
    load("street_random", query={"name": "pixel", "pixels": 5}, oracle={"name": "confusion"})
    load("street_random", partition={"name": "image"}, query={"name": "image"}, budget__unit="images")


@pytest.mark.parametrize("regions", [12, 49, 301])
def test_of_a_pool_asked_one_by_one_nothing_is_left_in_percent(regions):
    pool = PoolSize(regions=regions, images=1, pixels=regions)
    asked = [Cost(regions=1)] * regions
    assert remaining("percent", pool, asked) == 0
    assert remaining("percent", pool, asked[1:]) == pytest.approx(100 / regions)
