"""Units of labelling mean the same to budgets, the selector, prices, summaries and reports."""

from __future__ import annotations

import pytest

from tessera.acquisition.selection import budget as selecting
from tessera.errors import BadInput
from tessera.pb.oracle_pb2 import Cost
from tessera.units import BUDGETS, UNITS, PoolSize, unit

POOL = PoolSize(regions=200, images=20, pixels=9000)
COST = Cost(regions=50, images=3, pixels=1000, clicks=70, clicks_without_undefined=60, labelling_seconds=9.5)


def test_what_answers_cost_in_each_unit():
    spent = {name: one.spent(COST, POOL) for name, one in UNITS.items()}
    assert spent == {
        "percent": 25.0, "regions": 50, "images": 3, "pixels": 1000, "clicks": 70, "clicks_without_undefined": 60,
        "seconds": 9.5, "measured_clicks": 0, "measured_seconds": 0,
    }  # fmt: skip


def test_the_selector_cuts_a_ranking_in_every_unit_but_those_that_are_counted_in_regions():
    assert set(selecting.UNITS) == set(BUDGETS) - {"percent"}
    for name, one in selecting.UNITS.items():
        # A price that is known before the answers is one of which the pool has a total.
        assert one.known == (UNITS[name].total is not None)


def test_an_unknown_unit_is_named_with_its_field():
    with pytest.raises(BadInput, match="over: unknown unit 'click'; did you mean clicks"):
        unit("click", "over")
