import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.reporting.forecast import FARTHEST, forecast


@given(
    st.floats(0.05, 0.4),
    st.floats(0.01, 0.2),
    st.lists(st.integers(1, 100_000), min_size=3, max_size=12, unique=True),
    st.floats(1.05, FARTHEST * 0.95),
)
def test_a_curve_that_is_a_line_over_the_logarithm_meets_the_goal_where_the_line_does(level, slope, costs, times):
    costs = sorted(costs)
    curve = [(cost, level + slope * math.log2(cost)) for cost in costs]
    goal = level + slope * math.log2(costs[-1] * times)
    found = forecast(curve, goal)
    assert not found.reached
    assert found.cost == pytest.approx(costs[-1] * times, rel=1e-4)
    assert found.slope == pytest.approx(slope, rel=1e-6)


def test_the_line_is_that_of_least_squares():
    rng = np.random.default_rng(1)
    costs = [100, 210, 330, 480, 900]
    curve = [(cost, 0.1 + 0.05 * math.log2(cost) + rng.normal(0, 0.01)) for cost in costs]
    slope, level = np.polyfit(np.log2(costs), [quality for _, quality in curve], 1)
    goal = level + slope * math.log2(2500)
    assert forecast(curve, goal).cost == pytest.approx(2500)


def test_what_cannot_be_forecast_is_not():
    rising = [(100, 0.3), (200, 0.35), (400, 0.4)]
    assert forecast(rising[:2], 0.6).cost is None
    assert math.isnan(forecast(rising[:2], 0.6).slope)
    assert forecast([(cost, 0.5 - quality) for cost, quality in rising], 0.6).cost is None
    # 0.05 per doubling: 0.9 lies ten doublings away.
    assert forecast(rising, 0.9).cost is None
    # Costs of 0 have no logarithm.
    assert forecast([(0, 0.1), *rising], 0.45).cost == pytest.approx(800)


def test_a_goal_that_was_met_is_met_where_it_was_first():
    found = forecast([(100, 0.3), (200, 0.42), (400, 0.41)], 0.4)
    assert (found.cost, found.reached) == (200, True)
    # The fit may put the goal before the cost so far, where it was not met.
    assert forecast([(100, 0.1), (200, 0.39), (400, 0.39)], 0.395).cost >= 400
