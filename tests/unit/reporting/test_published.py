"""Published values stand beside runs on the data they are for, and nowhere else."""

from __future__ import annotations

import json

import pytest

from tessera.cli.finished import report as told
from tessera.reporting import ReportData, RunReport, costs, render
from tessera.reporting.numbers import published
from unit.reporting import sample

OTHER = {
    "another set": {"name": "cityscapes-0123456789ab", "classes": sample.NAMES},
    "other classes": {"name": "street-0123456789ab", "classes": sample.NAMES[:-1]},
    "a set made from it": {"name": "street-frames-0123456789ab", "classes": sample.NAMES},
}


def test_a_run_on_the_data_of_the_paper_has_its_values():
    assert published(sample.summary()) == {"val_miou": 0.558}


@pytest.mark.parametrize("why", OTHER)
def test_a_run_on_other_data_has_none(why, tmp_path, capsys):
    run = sample.summary(dataset={**sample.summary()["dataset"], **OTHER[why]})
    assert published(run) == {}
    page = render(ReportData("t", (RunReport(run),)))
    assert "Published and measured" not in page
    assert "published:" not in page
    (tmp_path / "summary.json").write_text(json.dumps(run))
    told(tmp_path)
    assert "published" not in capsys.readouterr().out


def test_a_run_on_the_data_of_the_paper_tells_it_everywhere(tmp_path, capsys):
    run = sample.summary()
    page = render(ReportData("t", (RunReport(run),)))
    assert "Published and measured" in page
    assert "published:" in page
    (tmp_path / "summary.json").write_text(json.dumps(run))
    told(tmp_path)
    assert "published: val_miou 0.558" in capsys.readouterr().out


def test_values_of_summaries_that_name_no_data_are_for_camvid():
    def older(name, classes):
        return {"targets": {"val_miou": 0.5}, "dataset": {"name": name, "classes": ["x"] * classes}}

    assert published(older("camvid-0123456789ab", 11)) == {"val_miou": 0.5}
    assert not published(older("camvid-0123456789ab", 32))
    assert not published(older("street-0123456789ab", 11))


def test_values_at_a_budget_and_areas_are_read_off_the_curve():
    """Best Practices' measures; 297 of 2,975 images are its 10 %."""
    rounds = [
        {"regions_fraction": share, "val": {"miou": value}}
        for share, value in ((0.0998, 0.5), (0.2, 0.6), (0.2998, 0.7))
    ]
    run = {"recipe": "r", "rounds": rounds}
    assert costs.at_budget(run, "val", "miou_at_20") == pytest.approx(0.6)
    assert costs.at_budget(run, "val", "miou_at_30") == pytest.approx(0.7)
    assert costs.at_budget(run, "val", "miou_at_12_5") == pytest.approx(0.5 + 0.1 * (0.125 - 0.0998) / 0.1002)
    area = 0.1002 * 0.55 + 0.0998 * 0.65
    assert costs.at_budget(run, "val", "auc_30") == pytest.approx(area)
    assert costs.at_budget(run, "val", "auc_20") == pytest.approx(0.1002 * 0.55)
    assert costs.at_budget(run, "val", "auc_50") is None
    assert costs.at_budget(run, "val", "miou") is None
    assert costs.at_budget({"recipe": "r", "rounds": []}, "val", "auc_30") is None


def test_values_at_an_amount_of_clicks_are_read_off_the_curve():
    """MulActSeg's rounds: an answer may go over a round's clicks, and the next round has as many less."""
    rounds = [
        {"regions_fraction": 0.1, "clicks": clicks, "val": {"miou": value}}
        for clicks, value in ((100_003, 0.5), (199_999, 0.6), (300_001, 0.7))
    ]
    run = {"recipe": "r", "rounds": rounds}
    assert costs.at_budget(run, "val", "miou_at_100000_clicks") == 0.5
    assert costs.at_budget(run, "val", "miou_at_200000_clicks") == pytest.approx(0.6, abs=1e-5)
    assert costs.at_budget(run, "val", "miou_at_250000_clicks") == pytest.approx(0.65, abs=1e-5)
    assert costs.at_budget(run, "val", "miou_at_300000_clicks") == pytest.approx(0.7, abs=1e-5)
    assert costs.at_budget(run, "val", "miou_at_90000_clicks") is None
    assert costs.at_budget(run, "val", "miou_at_301000_clicks") is None
