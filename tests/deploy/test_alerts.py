"""Each alert under promtool: it fires when it should, says what it should, and is silent otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.alert_cases import CASES, Case
from deploy.prometheus import missing, promtool, rules

pytestmark = pytest.mark.full


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the rules as Prometheus reads them."""
    reason = missing("promtool")
    if reason:
        pytest.skip(reason)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    return tmp_path


def rule(alert: str) -> dict[str, Any]:
    (found,) = [each for group in rules()["groups"] for each in group["rules"] if each["alert"] == alert]
    return dict(found)


def said(case: Case) -> dict[str, str]:
    """The annotations, with value and labels in their places."""
    made = {}
    for name, text in rule(case.alert)["annotations"].items():
        text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: case.labels[found[1]], text)
        made[name] = re.sub(r"\{\{[^}]*\$value[^}]*\}\}", case.value, text)
    return made


def part(series: Mapping[str, str], alert: str, at: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minutes}m", "alertname": alert, "exp_alerts": expected}
            for minutes, expected in sorted(at.items())
        ],
    }


def parts(case: Case) -> Iterator[dict[str, Any]]:
    labels = {**rule(case.alert)["labels"], **case.labels}
    fires: dict[int, list[dict[str, Any]]] = {case.minutes: [{"exp_labels": labels, "exp_annotations": said(case)}]}
    if case.early is not None:
        fires[case.early] = []
    yield part(case.fires, case.alert, fires)
    for series in case.quiet:
        yield part(series, case.alert, {case.minutes // 2: [], case.minutes: []})


def test_promtool_takes_the_rules(folder: Path) -> None:
    many = sum(len(group["rules"]) for group in rules()["groups"])
    assert f"{many} rules found" in promtool("check", "rules", "rules.yaml", folder=folder)


def test_every_alert_has_a_case() -> None:
    assert sorted(case.alert for case in CASES) == sorted(
        each["alert"] for group in rules()["groups"] for each in group["rules"]
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_should_and_not_otherwise(case: Case, folder: Path) -> None:
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": list(parts(case))}
    (folder / "tests.yaml").write_text(json.dumps(tests))
    promtool("test", "rules", "tests.yaml", folder=folder)
