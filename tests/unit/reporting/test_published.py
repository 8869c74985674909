"""Published values stand beside runs on the data they are for, and nowhere else."""

from __future__ import annotations

import json

import pytest

from tessera.cli.finished import report as told
from tessera.reporting import ReportData, RunReport, render
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
