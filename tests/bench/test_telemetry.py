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

from bench.cpu import spent
from bench.no_op import round_trip
from bench.tree import watch
from collector import collecting
from integration.loop import RECIPE, environment, write_recipe
from toy.harness import Bed, ToyService, bed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
JOBS = int(os.environ.get("TESSERA_BENCH_JOBS", "300"))
PAIRS = int(os.environ.get("TESSERA_BENCH_PAIRS", "5"))


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


def test_what_telemetry_costs_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """(f) CPU seconds of everything that a small street run starts, with metrics and traces on and off, in pairs."""
    recipe = write_recipe(tmp_path, training={**RECIPE["training"], "epochs": 8})
    pairs: list[tuple[float, float]] = []
    with collecting() as collector:
        traced = {
            "TESSERA_METRICS_PORT": "0",
            "TESSERA_TRACING": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        }

        def run(name: str, **on: str) -> float:
            where = str(tmp_path / name)
            words = ("run", str(recipe), "--out", where, "--seed", "0")
            return spent([sys.executable, "-m", "tessera.cli.main", *words], environment(**on))

        run("warm")
        for turn in range(PAIRS):
            first = turn % 2 == 0
            with_it = run(f"{turn}-on", **traced) if first else 0.0
            without = run(f"{turn}-off")
            pairs.append((with_it or run(f"{turn}-on", **traced), without))
        assert len(collector.of("round 2")) == PAIRS
    more = [on - off for on, off in pairs]
    off = statistics.mean(each[1] for each in pairs)
    error = statistics.stdev(more) / PAIRS**0.5
    with capsys.disabled():
        shown = " ".join(f"{each:+.2f}" for each in more)
        print(
            f"\n(f) metrics and traces: {statistics.mean(more):+.2f} ± {error:.2f} CPU seconds (mean and standard "
            f"error of {PAIRS} pairs: {shown}) on {off:.1f}: {100 * statistics.mean(more) / off:+.1f} %"
        )
