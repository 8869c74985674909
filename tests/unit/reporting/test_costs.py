"""Curves over any recorded cost: read at equal cost, by interpolation, in the range that all runs cover."""

import numpy as np
import pytest

from tessera.cli import compare as comparing
from tessera.errors import BadInput
from tessera.reporting import ReportData, RunReport, compare, curve, render, table
from tessera.reporting.costs import clicks_and_time, points, shared_span
from tessera.units import UNITS
from unit.reporting import sample


def run(recipe, seed, places, heights, column="clicks"):
    made = sample.summary(recipe, seed, rounds=len(places))
    for one, x, y in zip(made["rounds"], places, heights, strict=True):
        one[column] = x
        for split in ("val", "test"):
            one[split]["miou"] = y
    return made


def test_values_are_read_where_all_arms_are():
    runs = [
        run("street_random", 0, [100, 300, 500], [0.2, 0.3, 0.4]),
        run("street_meal", 0, [50, 250, 450, 650], [0.1, 0.3, 0.5, 0.6]),
    ]
    found = compare(runs, "clicks")
    assert found.spans["test"] == (100, 500)
    random, meal = found.groups
    assert random.values("test", "final") == {0: pytest.approx(0.4)}
    # Between 450 and 650: a quarter of the way.
    assert meal.values("test", "final") == {0: pytest.approx(0.525)}
    fine = np.linspace(100, 500, 400_001)
    for group in (random, meal):
        places = [one["clicks"] for one in group.runs[0]["rounds"]]
        heights = [one["test"]["miou"] for one in group.runs[0]["rounds"]]
        mean = np.interp(fine, places, heights).mean()
        assert group.values("test", "auc")[0] == pytest.approx(mean, abs=1e-5)
    final = next(one for one in found.differences if (one.split, one.measure) == ("test", "final"))
    assert final.mean == pytest.approx(0.125)


def test_without_a_cost_nothing_changes():
    runs = [run("street_random", 0, [1, 2], [0.2, 0.3]), run("street_meal", 0, [5, 9], [0.2, 0.4])]
    assert compare(runs).over is None
    assert compare(runs).groups[1].values("test", "auc") == {0: runs[1]["auc"]["test"]["mean"]}


def test_every_cost_of_a_summary_can_be_plotted():
    runs = [sample.summary(name, seed) for name in ("street_random", "street_meal") for seed in (0, 1)]
    for name, cost in UNITS.items():
        if cost.column.startswith("measured_"):
            continue  # only where people answered, see below
        assert cost.column in runs[0]["rounds"][0]
        text = curve(runs, over=name)
        assert all(len(line) <= 72 for line in text.split("\n"))
        assert "of the pool labelled" in text if name == "percent" else cost.title in text
        assert f"at equal {cost.title}" in table(runs, over=name)
        assert "in mean test mIoU at equal " in "\n".join(comparing.lines(runs, over=name))
        page = render(ReportData("t", tuple(RunReport(one) for one in runs), over=name))
        assert f"mIoU over {cost.title}" in page
    assert "mIoU over images touched" in render(ReportData("t", tuple(RunReport(one) for one in runs)))


def test_rounds_at_one_cost_count_once_and_the_last_of_them():
    assert points(run("a", 0, [4, 4, 6], [0.1, 0.2, 0.3], "images_touched"), "test", "images") == [(4, 0.2), (6, 0.3)]


def test_ranges_that_do_not_meet_are_refused_with_their_ends():
    runs = [run("street_random", 0, [1, 2], [0.2, 0.3]), run("street_meal", 0, [5, 9], [0.2, 0.4])]
    with pytest.raises(BadInput, match=r"street_random \(seed 0\): 1 to 2; street_meal \(seed 0\): 5 to 9"):
        compare(runs, "clicks")
    with pytest.raises(BadInput, match="over: unknown unit 'click'; did you mean clicks"):
        compare(runs, "click")
    del runs[0]["rounds"][0]["clicks"]
    with pytest.raises(BadInput, match="has no clicks, since an older version wrote it; run"):
        compare(runs, "clicks")
    assert shared_span([]) is None
    assert shared_span([[(3, 0.1)], [(3, 0.2)]]) == (3, 3)
    assert shared_span([[(3, 0.1), (4, 0.1)], [(4, 0.2), (5, 0.2)]]) is None


def test_a_reference_is_no_arm_of_the_range():
    full = run("street_supervised", 0, [10_000], [0.9])
    full["rounds"][0]["regions_fraction"] = 1.0
    runs = [run("street_random", 0, [1, 2], [0.2, 0.3]), run("street_meal", 0, [1, 2], [0.2, 0.4]), full]
    found = compare(runs, "clicks")
    assert found.spans["test"] == (1, 2)
    assert found.groups[2].values("test", "final") == {0: 0.9}


def test_measured_costs_stand_beside_the_modelled_ones_where_people_answered():
    run = sample.summary("street_meal", 0)
    with pytest.raises(BadInput, match="nobody measured the answers of street_meal"):
        points(run, "test", "measured_seconds")
    group = compare([run], None).groups[0]
    modelled = clicks_and_time(group)
    assert "measured" not in "".join(modelled)
    for number, one in enumerate(run["rounds"], 1):
        one |= {"measured_clicks": 7 * number, "measured_seconds": 60.0 * number}
    group = compare([run], None).groups[0]
    last = len(run["rounds"])
    assert [cost for cost, _ in points(run, "test", "measured_clicks")] == [7 * n for n in range(1, last + 1)]
    assert clicks_and_time(group)[0] == f"{modelled[0]} ({7 * last} measured)"
