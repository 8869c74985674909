"""A real Prometheus reads a stack while it works: panels show what was done, alerts fire when something is wrong."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.prometheus import Prometheus, missing, promtool, rules
from deploy.promql import Expression, alerts, panels
from integration.loop import command, environment, heed_interrupts, tessera, until, write_recipe
from integration.test_telemetry import LimitedNats, send_nonsense
from servers import NatsProcess, mortal, running

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

ELSEWHERE = {"TesseraNatsStorageAlmostFull", "TesseraVolumeAlmostFull", "TesseraNatsServerMissing",
             "TesseraCoordinatorMissing", "TesseraOutOfMemory", "TesseraHousekeepingFailed"}  # fmt: skip
"""Alerts on series of the NATS exporter, the kubelet and kube-state-metrics, none of which is here."""
IDLE = {"Duration of done jobs, 95 %", "gRPC calls, 95 %"}
"""Panels that show NaN while nothing happened within their window."""

ROUNDS = "sum(increase(tessera_rounds_total[1h]))"
SPENT = 'sum(increase(tessera_budget_spent_total{unit="regions"}[1h]))'
TRAINED = 'sum(increase(tessera_job_seconds_count{method="Train", outcome="done"}[1h]))'
BROKEN = 'sum(increase(tessera_job_seconds_count{outcome="broken"}[1h]))'
COUNTED = {ROUNDS: 2.0, SPENT: 24.0, TRAINED: 2.0, BROKEN: 0.0}


@dataclass
class Watched:
    """A stack whose scorer is a process of its own, and the Prometheus that reads both."""

    folder: Path
    nats: NatsProcess
    prometheus: Prometheus
    told: dict[str, str]
    scorer: subprocess.Popen[bytes]
    recipe: Path
    healthy: dict[str, str] = field(default_factory=dict)
    """Alerts that were active at the end of the run in which nothing was wrong."""
    counted: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)
    """What `COUNTED` were then."""

    def submit(self) -> str:
        done = tessera("submit", self.recipe, "--seed", 5, **self.told)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def watch(self, run: str) -> None:
        done = tessera("watch", run, "--out", self.folder / run, **self.told)
        assert done.returncode == 0, done.stderr


def soon() -> list[dict[str, Any]]:
    """The rules, and each again under another name without its time: a fault is seen at the next evaluation."""
    groups: list[dict[str, Any]] = rules()["groups"]
    hasty = copy.deepcopy(groups)
    for group in hasty:
        group["name"] += "-soon"
        for rule in group["rules"]:
            rule["alert"] += "Soon"
            rule.pop("for", None)
    return [*groups, *hasty]


def metrics_of(log: str, service: str) -> str | None:
    """Where a process of the stack answers Prometheus, as its log says."""
    for line in log.splitlines():
        said = json.loads(line) if line.startswith("{") else {}
        if said.get("service") == service and "metrics" in said:
            return str(said["metrics"])
    return None


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run of two rounds was done while Prometheus looked on."""
    reason = missing("prometheus", "promtool")
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("prometheus")
    recipe = write_recipe(folder, budget={"unit": "regions", "per_round": 8, "rounds": 1})
    stack, log, scored = folder / "stack", folder / "up.log", folder / "scorer.log"
    on = {
        "TESSERA_METRICS_PORT": "0",
        "TESSERA_EVENTS_BYTES": str(1 << 28),
        "TESSERA_STORE_QUOTA_BYTES": str(1 << 30),
        "TESSERA_LOOK_SECONDS": "2",
    }
    with running(LimitedNats(folder / "nats")) as server:
        assert isinstance(server, NatsProcess)
        places = ("--nats", server.url, "--store", (folder / "store").as_uri())
        for words in (("topology", *places[:2]), ("gc", *places, "--delete", "--settle-seconds", "0")):
            done = tessera(*words, **on)
            assert done.returncode == 0, done.stderr
        # Not by `start`: what that begins ends with the first test.
        with log.open("wb") as file:
            process = subprocess.Popen(
                mortal(*command("up", "--out", stack, "--replicas", "scorer=0", *places)),
                env=environment(**on),
                stdout=file,
                stderr=file,
                preexec_fn=heed_interrupts,
            )
        own = {"TESSERA_NATS_URL": server.url, "TESSERA_STORE": places[3], "TESSERA_CACHE_DIR": str(folder / "cache")}
        with scored.open("wb") as file:
            scorer = subprocess.Popen(
                mortal(sys.executable, "-m", "services.scorer"),
                env=environment(**on, **own),
                stdout=file,
                stderr=file,
            )
        try:
            until(lambda: "up; logs in" in log.read_text() or process.poll() is not None, 120, "tessera up")
            told = dict(
                line.removeprefix("export ").split("=", 1)
                for line in log.read_text().splitlines()
                if line.startswith("export ")
            )
            logs = stack / "logs"
            host = until(lambda: metrics_of((logs / "host.log").read_text(), "host"), 60, "the host's metrics")
            other = until(lambda: metrics_of(scored.read_text(), "scorer"), 120, "the scorer's metrics")
            prometheus = Prometheus(folder / "prometheus", {"host-0": host, "scorer-0": other}, soon())
            said = promtool("check", "config", "prometheus.yml", folder=prometheus.folder)
            assert "SUCCESS" in said
            with running(prometheus):
                until(lambda: len(prometheus.ask("up == 1")) == 2, 60, "both processes to be read")
                made = Watched(folder, server, prometheus, told, scorer, recipe)
                made.watch(made.submit())
                until(lambda: prometheus.ask("sum(tessera_rounds_total) == 2"), 60, "the last round to be read")
                made.healthy = prometheus.states()
                made.counted = {expression: prometheus.ask(expression) for expression in COUNTED}
                yield made
        finally:
            scorer.terminate()
            process.send_signal(signal.SIGINT)
            for one in (scorer, process):
                one.wait(90)


@pytest.mark.parametrize("panel", panels(), ids=lambda one: f"{one.owner}: {one.text}")
def test_a_panel_shows_something_after_a_run(panel: Expression, watched: Watched) -> None:
    found = until(lambda: watched.prometheus.ask(panel.text), 30, panel.text)
    if panel.owner not in IDLE:
        assert [value for _, value in found if not math.isnan(value)], found
    shown = set(found[0][0])
    assert panel.labels_shown() <= shown, f"the legend {panel.shown!r} names none of {shown}"
    # Grafana asks for a range.
    now = watched.prometheus.ask("vector(time())")[0][1]
    asked = {"query": panel.text, "start": str(now - 60), "end": str(now), "step": "15"}
    assert watched.prometheus.get("query_range", **asked)["result"]


@pytest.mark.parametrize("alert", alerts(), ids=lambda one: one.owner)
def test_an_alert_can_be_asked_for(alert: Expression, watched: Watched) -> None:
    watched.prometheus.ask(alert.text)


def test_counters_saw_the_run_from_its_first_round(watched: Watched) -> None:
    """Prometheus sees the step from 0: each process shows its counters before it counts."""
    for expression, expected in COUNTED.items():
        ((_, value),) = watched.counted[expression]
        # Prometheus extrapolates to the ends of the hour.
        assert value == pytest.approx(expected, rel=0.2), expression


def test_every_rule_is_evaluated_without_error(watched: Watched) -> None:
    groups = watched.prometheus.get("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == 2 * len(alerts())
    for rule in found:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]


def test_nothing_fires_while_nothing_is_wrong(watched: Watched) -> None:
    assert [name for name, state in watched.healthy.items() if state == "firing" and not name.endswith("Soon")] == []
    # What waits for half an hour may have begun to wait: a job that nobody has taken for a second.
    known = {alert.owner for alert in alerts()} - ELSEWHERE
    assert {name for name in watched.healthy if not name.endswith("Soon")} <= known - {
        "TesseraDeadLetters", "TesseraJobsBreak", "TesseraNotMeasured", "TesseraNatsAway", "TesseraRetries",
    }  # fmt: skip


def test_the_alert_on_dead_letters_fires(watched: Watched) -> None:
    firing = watched.prometheus.states
    assert "TesseraDeadLettersSoon" not in watched.healthy
    asyncio.run(send_nonsense(watched.nats.url))
    until(lambda: firing().get("TesseraDeadLettersSoon") == "firing", 60, "the alert on dead letters")
    until(lambda: "TesseraDeadLetters" in firing(), 60, "the alert with its time")
