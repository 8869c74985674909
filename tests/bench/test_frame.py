"""Overhead of services, queue and store: ratios and figures of one run each, printed; ``make bench``.

Nothing here asserts a time: machines differ. It asserts only that the measured parts really ran.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.no_op import round_trip
from bench.tree import watch
from toy.harness import bed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TESSERA = [sys.executable, "-m", "tessera.cli.main"]


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}")


async def test_round_trip_of_a_no_op_job(nats_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """(b) dispatch → pull → child → commit → event, one job at a time. Aim ≤ 50 ms."""
    async with bed(tmp_path, nats_url, ack_wait=30.0, fetch_expires=5.0, fsync=True) as made:
        await made.start()
        seconds, last = [], 0
        for seed in range(60):
            taken, last = await round_trip(made, seed, last)
            seconds.append(taken)
    warm = sorted(seconds[10:])
    say(
        capsys,
        f"(b) no-op job, dispatch to event: median {statistics.median(warm) * 1e3:.1f} ms, "
        f"p95 {warm[int(0.95 * len(warm))] * 1e3:.1f} ms (aim ≤ 50 ms)",
    )


async def test_scorer_throughput(nats_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """(a) images per second through the scorer, one child and one thread, over the bare forward pass. Aim ≥ .85."""
    from bench.scorer import bare_seconds, service_seconds

    images = int(os.environ.get("TESSERA_BENCH_IMAGES", "48"))
    through, bare = [], []
    async with service_seconds(tmp_path, nats_url, images) as measure:
        for repeat in range(3):
            bare.append(await asyncio.to_thread(bare_seconds, tmp_path, images))
            through.append(await measure(repeat))
    ratios = sorted(b / t for b, t in zip(bare, through, strict=True))
    say(
        capsys,
        f"(a) scorer through the service / bare forward, {images} images of 480×360: "
        f"{images / statistics.median(through):.1f} / {images / statistics.median(bare):.1f} images/s, "
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; aim ≥ 0.85)",
    )


def test_wall_time_over_compute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """(c) wall time of a street run over its compute, with one child so that compute never overlaps. Aim ≤ 1.25."""
    os.environ["TESSERA_CHILDREN"] = "1"
    try:
        out = tmp_path / "run"
        seen = watch([*TESSERA, "run", "street_meal", "--out", str(out), "--seed", "0"])
    finally:
        del os.environ["TESSERA_CHILDREN"]
    assert seen.code == 0
    summary = json.loads((out / "summary.json").read_text())
    compute = sum(one["compute_seconds"] for one in summary["rounds"])
    say(
        capsys,
        f"(c) street_meal, run {summary['wall_seconds']:.1f} s over {compute:.1f} s of compute: "
        f"{summary['wall_seconds'] / compute:.2f} (aim ≤ 1.25); the whole command took {seen.seconds:.1f} s",
    )


@pytest.mark.camvid
def test_memory_of_the_camvid_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """(d) peak memory of everything that ``tessera run`` starts, all steps of MEAL on CamVid. Aim ≤ 4 GiB."""
    folder = os.environ.get("TESSERA_CAMVID")
    if not folder:
        pytest.skip("TESSERA_CAMVID is not set: no CamVid copy to run on")
    options = ["--set", "budget.rounds=1", "--set", "training.epochs=2", "--set", "training.final_epochs=2"]
    seen = watch(
        [*TESSERA, "run", "meal_camvid_meal_frozen", "--data", folder, "--out", str(tmp_path / "run"), *options]
    )
    assert seen.code == 0
    parts = ", ".join(f"{name} {np.round(size / 2**20):.0f}" for name, size in sorted(seen.peak_by_process.items()))
    say(capsys, f"(d) CamVid stack: peak {seen.peak_bytes / 2**30:.2f} GiB (MiB: {parts}; aim ≤ 4 GiB)")
