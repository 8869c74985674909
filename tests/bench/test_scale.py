"""Selection over 60 thousand, 1 million and 6 million regions: seconds and memory of one selection, printed.

Time is CPU time on one thread, tables in and table out; memory is the most the process ever had. Partition, scores
and projections are measured elsewhere. ``TESSERA_BENCH_REGIONS`` caps the sizes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SCRIPT = Path(__file__).with_name("selector.py")
SIZES = (60_555, 1_000_000, 6_093_000)
"""CamVid in SEEDS of 165 per image, and Cityscapes in SEEDS of 2,048."""
TOP = {"name": "top", "by": "entropy_mean"}
CASES: dict[str, tuple[list[dict[str, object]], int, float]] = {
    "top 10,000": ([TOP], 10_000, 0.0),
    "every 5th frame, top 1,000": ([{"name": "uniform_every_n", "n": 5}, TOP], 1_000, 0.0),
    "uniform in time, 300": ([{"name": "uniform_in_time"}], 300, 0.0),
    "top 20 of different frames": ([TOP], 20, 0.01),
    "k-means in 2-D, 1,000 clusters": ([{"name": "kmeans", "by": "entropy_mean"}], 1_000, 0.0),
    "k-means++ in 2-D, 1,000 seeds": ([{"name": "kmeans_plusplus"}], 1_000, 0.0),
}


def python(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


CLASSES = 20
"""Of Cityscapes and undefined: PixBal reads 40 columns."""


def measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: int, cases: dict[str, tuple[Any, int, float]]
) -> None:
    cap = int(os.environ.get("TESSERA_BENCH_REGIONS", str(SIZES[-1])))
    sizes = [size for size in SIZES if size <= cap]
    for size in sizes:
        (tmp_path / str(size)).mkdir()
        python("make", str(tmp_path / str(size)), str(size), str(classes))
    for name, (stages, count, seconds) in cases.items():
        found = []
        for size in sizes:
            arguments = ("run", str(tmp_path / str(size)), json.dumps(stages), str(count), str(seconds))
            found.append(json.loads(python(*arguments)))
        parts = [
            f"{size:,}: {one['cpu']:.2f} s, {one['peak_gib']:.2f} GiB" for size, one in zip(sizes, found, strict=True)
        ]
        each = [one["cpu"] / size * 1e6 for size, one in zip(sizes, found, strict=True)]
        with capsys.disabled():
            print(f"\n{name}: {'; '.join(parts)}; µs a region {', '.join(f'{value:.2f}' for value in each)}")
        assert found[-1]["peak_gib"] < 8


def test_selection_is_linear_and_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path, capsys, 0, CASES)


def test_vector_columns_are_linear_and_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path, capsys, CLASSES, {"PixBal, 10,000": ([{"name": "class_balanced"}], 10_000, 0.0)})
