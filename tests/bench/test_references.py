"""An import by reference beside a plain loop that gets, hashes and decodes the same objects of a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.references import compared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MOST = 2.0
"""CPU of the import by that of the loop; measured: see docs/results/people.md."""


def test_an_import_costs_little_more_than_reading_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compared(1500, tmp_path)
    floor, made = found["get, hash, decode"], found["import"]
    with capsys.disabled():
        print(f"\nimport: {1500 / made.seconds:.0f} objects/s, {made.cpu / floor.cpu:.2f} of the loop's CPU")
    # CPU, because the time on the clock is that of whoever else works on the machine.
    assert made.cpu < MOST * floor.cpu
