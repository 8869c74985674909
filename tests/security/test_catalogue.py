"""The table of README.md names every attack of the catalogue, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).with_name("README.md")
ROWS = {row.split("|")[1].strip(): row for row in README.read_text().splitlines() if row.startswith("| S")}
# S17, S18 and S23 are attacks on the dashboard, with its own tests.
EXPECTED = {f"S{number}" for number in (*range(1, 17), *range(19, 23))}


def test_every_attack_has_its_row() -> None:
    assert set(ROWS) == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_tests_of_an_attack_are_there(name: str) -> None:
    files = [README.parent / link for link in re.findall(r"\]\(([^)]+\.py)\)", ROWS[name])]
    made = {path: set(re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)) for path in files}
    tests = set(re.findall(r"`(test_\w+)`", ROWS[name]))
    assert tests
    assert not tests - set().union(*made.values()), name
    # A file without a test of its own would say nothing.
    assert not [path for path in files if not made[path] & tests], name
