"""The advisor's rule against the published table, its thresholds, and what it says."""

import dataclasses

import pytest
import yaml

from tessera.acquisition.diagnostics import Redundancy
from tessera.errors import BadInput
from tessera.loop import advice
from tessera.loop.reading import parse
from unit.loop.simulator import mapping

IMAGENET = advice.CALIBRATIONS["imagenet"]


def measured(leader_share=0.9, nearest=0.9, **more):
    found = Redundancy(1000, 0.05, nearest, 0.2, round(1000 * leader_share), 900.0, 0.5, 0.01, 1.0)
    return dataclasses.replace(found, **more)


def told(leader_share, nearest, text, **more):
    judgement = advice.judge(measured(leader_share, nearest), IMAGENET)
    return advice.advise(judgement, advice.regime(advice.budget(text), 1000), **more)


@pytest.mark.parametrize(
    ("leader_share", "nearest", "text", "choice"),
    [
        (0.9, 0.9, "2-2", "random"),
        (0.9, 0.9, "10-10", "single"),
        (0.4, 0.97, "2-2", "batch"),
        (0.4, 0.97, "10-10", "batch"),
    ],
)
def test_the_four_cells_of_table_6(leader_share, nearest, text, choice):
    given = told(leader_share, nearest, text)
    assert given.choice == choice
    assert given.rule.startswith("Best Practices, Table 6: ")
    assert given.rule.endswith(f": {choice}")


def test_semi_supervised_column_of_table_6():
    assert told(0.9, 0.9, "2-2").semi_supervised == "random"
    assert told(0.9, 0.9, "10-10").semi_supervised == "single, semi-supervised"
    assert "adds nothing" in told(0.4, 0.97, "2-2").semi_supervised
    assert told(0.4, 0.97, "10-10").semi_supervised == "batch, semi-supervised"


def test_what_the_study_reports_against_its_own_table_is_said():
    low_diverse = told(0.9, 0.9, "2-2")
    assert low_diverse.confidence == "low"
    assert any("51.24 against 46.05" in line and "domain=narrow" in line for line in low_diverse.caveats)
    narrow = told(0.9, 0.9, "2-2", domain="narrow")
    assert narrow.choice == "single"
    assert "appendix D.1" in narrow.rule
    assert "its Table 6 says random" in narrow.rule
    assert told(0.9, 0.9, "10-10", domain="narrow").rule.startswith("Best Practices, Table 6")
    assert any("63.14" in line for line in told(0.9, 0.9, "10-10").caveats)
    assert any("30 % of the labels" in line for line in told(0.4, 0.97, "10-10").caveats)
    for shares in ((0.9, 0.9), (0.4, 0.97)):
        for text in ("2-2", "5-5", "10-10"):
            assert any("three seeds" in line for line in told(*shares, text).caveats)


@pytest.mark.parametrize(
    ("text", "images", "level"),
    [
        ("2-2", 2975, "low"),
        ("2-2-10", 2640, "low"),
        ("5-5", 2640, "between"),
        ("10-10", 367, "high"),
        ("2-2-40", 2640, "between"),
        ("2.5-2.5-7.5", 40_135, "high"),  # A2D2-3K: 1,000 images a cycle
        ("2 % - 2 %".replace(" ", ""), 500, "low"),
    ],
)
def test_regimes_of_the_study(text, images, level):
    assert advice.regime(advice.budget(text), images).level == level


def test_totals_follow_the_study():
    assert [round(100 * advice.budget(text).total) for text in ("2-2", "5-5", "10-10")] == [10, 25, 50]


@pytest.mark.parametrize("text", ["", "5", "low", "2-", "0-2", "60-20", "10-10-5", "10-0", "1-1-1-1", "-2-2"])
def test_budgets_that_are_none(text):
    with pytest.raises(BadInput, match="budget"):
        advice.budget(text)


def test_confidence_falls_with_doubt():
    assert advice.judge(measured(0.9, 0.9), IMAGENET).confidence == "high"
    assert advice.judge(measured(0.9, 0.95), IMAGENET).confidence == "medium", "the witness disagrees"
    assert advice.judge(measured(0.74, 0.9), IMAGENET).confidence == "medium", "close to the threshold"
    doubtful = advice.judge(measured(0.74, 0.95), IMAGENET)
    assert (doubtful.redundant, doubtful.confidence) == (False, "low")
    assert any("this disagrees" in line for line in doubtful.evidence)
    foreign = advice.judge(measured(0.9, 0.9), advice.calibration("my.safetensors"))
    assert foreign.confidence == "low"
    assert "not measured for backbone my.safetensors" in foreign.evidence[-1]
    assert told(0.4, 0.97, "5-5").confidence == "medium", "between the settings of the study"


def test_the_evidence_is_the_measurement():
    text = "\n".join(told(0.4, 0.97, "10-10").evidence)
    for part in ("400 of 1,000 images (40%)", "0.970", "20%", "50%", "1 s apart", "1.0%", "10-10 high"):
        assert part in text
    stills = advice.judge(measured(adjacent=None, adjacent_by_chance=None), IMAGENET)
    assert len(stills.evidence) == 3


@pytest.mark.parametrize("choice", sorted(advice.STRATEGIES))
def test_the_part_of_a_recipe_is_valid_as_written(choice):
    base = mapping("street_random")
    base["partition"] = {"name": "image"}
    part = yaml.safe_load(yaml.safe_dump(advice.STRATEGIES[choice][1]))
    base["score"] = part["score"]
    base["selection"] = {"initial": base["selection"]["initial"], **part["selection"]}
    base["budget"] = {"unit": "images", "per_round": 2, "rounds": 2}
    parse(base)
