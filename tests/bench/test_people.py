"""A round of 100,000 questions: next question, answer, progress, restart and early end; seconds and memory, printed.

NATS and the store (a folder) are real. ``TESSERA_BENCH_QUESTIONS`` sets another size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
TESTS = Path(__file__).parents[1]


def desk(*arguments: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    command = [sys.executable, str(TESTS / "bench" / "desk.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_large_round_costs_what_a_small_one_does(
    nats_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = os.environ.get("TESSERA_BENCH_QUESTIONS", "100000")
    filled = desk("fill", nats_url, str(tmp_path), count)
    again = desk("again", nats_url, str(tmp_path), count)
    with capsys.disabled():
        print(f"\n{json.dumps({'filled': filled, 'again': again}, indent=1)}")
    assert again["answered"] >= int(count) * 9 // 10 - 3 * 200
    for name, figure in filled["calls_at_nine_tenths"].items():
        if name.endswith("median_ms"):
            # A search through all questions would be hundreds of times slower.
            assert figure < 5 * filled["calls_at_start"][name] + 10, name
