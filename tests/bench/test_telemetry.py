"""What metrics and traces cost: a no-op job with both off and on, and a round of the street run; ``make bench``.

A round is told of by few spans and metrics, and most of its seconds are compute. So the cost of each job is measured on
jobs that do nothing, in turn with and without, and set against the seconds that a round's jobs take.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path

import pytest

from bench.no_op import round_trip
from bench.tree import watch
from collector import collecting
from toy.harness import Bed, ToyService, bed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
JOBS = int(os.environ.get("TESSERA_BENCH_JOBS", "300"))


def _spent(service: ToyService) -> float:
    """CPU seconds of a service's process, without its compute child."""
    assert service.process is not None
    user, system = Path(f"/proc/{service.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def _through(made: Bed, first: int) -> tuple[float, float]:
    """Median seconds from dispatch to event of ``JOBS`` jobs one by one, and the worker's CPU seconds of each."""
    seconds, last, before = [], 0, 0.0
    for seed in range(first, first + JOBS + 20):
        if seed == first + 20:  # warm now
            before = _spent(made.services[-1])
            seconds.clear()
        taken, last = await round_trip(made, seed, last)
        seconds.append(taken)
    return statistics.median(seconds), (_spent(made.services[-1]) - before) / JOBS


async def test_what_telemetry_costs_a_job(nats_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """(e) a no-op job with metrics and traces on and off, in turn; and that over a round of a street run. Aim < 2 %."""
    off: list[tuple[float, float]] = []
    on: list[tuple[float, float]] = []
    with collecting() as collector:
        traced = {
            "TESSERA_METRICS_PORT": "0",
            "TOY_TRACED": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        }
        async with bed(tmp_path, nats_url, ack_wait=30.0, fetch_expires=5.0) as made:
            for turn in range(6):
                service = await made.start(**(traced if turn % 2 else {}))
                (on if turn % 2 else off).append(await _through(made, 1000 * turn))
                service.signal(15)
                service.wait()
        assert len([span for span in collector.spans if span.name == "job Score"]) == 3 * (JOBS + 20)
    out = tmp_path / "run"
    seen = watch([sys.executable, "-m", "tessera.cli.main", "run", "street_meal", "--out", str(out), "--seed", "0"])
    assert seen.code == 0
    summary = json.loads((out / "summary.json").read_text())
    jobs = len(list((out / "stack" / "store" / "jobs").rglob("*.json")))
    wait = statistics.median(each[0] for each in on) - statistics.median(each[0] for each in off)
    cpu = statistics.median(each[1] for each in on) - statistics.median(each[1] for each in off)
    share = jobs * max(cpu, wait) / summary["wall_seconds"]
    with capsys.disabled():
        print(
            f"\n(e) metrics and traces: a no-op job takes {wait * 1e3:+.2f} ms, and its worker {cpu * 1e3:+.2f} ms of "
            f"CPU; times {jobs} jobs: {100 * share:.2f} % of a street_meal run of {summary['wall_seconds']:.0f} s "
            "(aim < 2 %)"
        )
