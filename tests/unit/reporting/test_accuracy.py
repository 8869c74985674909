"""Data sets of classification: curves, targets and comparisons are of accuracy, and mIoU stands beside."""

import numpy as np
import pytest

from tessera.cli.compare import verdict
from tessera.reporting import ReportData, RunReport, compare, costs, curve, render, table
from unit.reporting import sample

SHARES = [0.02, 0.04, 0.06]


def run(recipe, heights, seed=0, targets=None):
    made = sample.summary(recipe, seed, rounds=3)
    for one, share, height in zip(made["rounds"], SHARES, heights, strict=True):
        one["regions_fraction"] = share
        for split in ("val", "test"):
            del one[split]["pixel_accuracy"]
            one[split] |= {"accuracy": height, "miou": 0.011}
    made["auc"] = {split: {"mean": float(np.mean(heights))} for split in ("val", "test")}
    made["targets"] = targets or {}
    return made


@pytest.fixture
def runs():
    targets = {"test_accuracy_at_2": 0.242, "test_accuracy_at_4": 0.35, "test_accuracy": 0.461}
    return [
        run("street_random", [0.2, 0.3, 0.4]),
        run("street_meal", [0.25, 0.35, 0.5], targets=targets),
    ]


def test_a_comparison_is_of_accuracy(runs):
    found = compare(runs)
    assert found.quality == "accuracy"
    (final,) = [one for one in found.differences if (one.split, one.measure) == ("test", "final")]
    assert final.mean == pytest.approx(0.1)
    text = table(runs)
    assert "test accuracy" in text
    assert "mIoU" not in text
    assert curve(runs, "test").startswith("test accuracy")
    assert any("mean test accuracy" in line for line in verdict(found, "test"))
    assert compare([sample.summary()]).quality == "mIoU"


def test_published_accuracies_are_read_at_their_budgets(runs):
    assert costs.at_budget(runs[1], "test", "accuracy_at_2") == pytest.approx(0.25)
    assert costs.at_budget(runs[1], "test", "accuracy_at_4") == pytest.approx(0.35)
    page = render(ReportData("t", tuple(RunReport(one) for one in runs)))
    for name, published, measured in (
        ("test_accuracy_at_2", "0.242", "0.250"),
        ("test_accuracy_at_4", "0.350", "0.350"),
        ("test_accuracy", "0.461", "0.500"),
    ):
        row = page[page.index(f"<td>{name}</td>") :].split("</tr>")[0]
        assert published in row
        assert measured in row


def test_the_report_shows_both_measures_of_every_round(runs):
    page = render(ReportData("t", tuple(RunReport(one) for one in runs)))
    for name in ("val accuracy", "val mIoU", "test accuracy", "test mIoU"):
        assert f">{name}<" in page
    assert "0.011" in page
    assert "test accuracy over" in page
