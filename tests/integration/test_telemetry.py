"""Traces and metrics of a real run: every process of a stack, one collector, one scrape."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector import Collector, Span, collecting
from deploy.promql import Expression, Series, alerts, panels
from integration.loop import end_started, start, tessera, until, write_recipe
from servers import NatsProcess, running
from tessera.runtime import metrics, topology
from tessera.runtime.messaging import connect

pytestmark = pytest.mark.full
RUN_STEPS = [
    ["partition", "select", "label", "train", "evaluate"],
    ["score", "featurize", "fit", "shortlist", "candidates", "project", "select", "label", "train", "evaluate"],
]
Samples = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True)
class Seen:
    """A run of two rounds, watched from outside."""

    run: str
    collector: Collector
    samples: Samples


def scrape(address: str) -> Samples:
    """Every sample that a process shows, by name."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """The one sample with these labels."""
    (found,) = [number for have, number in samples[name] if labels.items() <= have.items()]
    return found


def lines(folder: Path) -> list[dict[str, str]]:
    """What all processes of a stack have logged."""
    found = [line for path in sorted((folder / "logs").glob("*.log")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in found if line.startswith("{")]


class LimitedNats(NatsProcess):
    """Whoever connects is in an account that may store so much."""

    def arguments(self) -> list[str]:
        given = super().arguments()
        with (self.folder / "nats.conf").open("a") as configuration:
            configuration.write(
                "accounts { T { jetstream { max_file: 512MB, max_mem: 16MB }, users [ { user: t, password: t } ] } }\n"
                "no_auth_user: t\n"
            )
        return given


async def send_nonsense(url: str) -> None:
    """A job that no worker can read: it becomes a dead letter."""
    connection = await connect(url, name="test")
    await connection.publish(topology.job_subject("score"), b"\xff\xff")
    await connection.close()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """One run on a stack with a second scorer."""
    folder = tmp_path_factory.mktemp("telemetry")
    recipe = write_recipe(folder, budget={"unit": "regions", "per_round": 8, "rounds": 1})
    stack, log = folder / "stack", folder / "up.log"
    with collecting() as collector, running(LimitedNats(folder / "nats")) as server:
        assert isinstance(server, NatsProcess)
        on = {
            "TESSERA_METRICS_PORT": "0",
            "TESSERA_TRACING": "otlp",
            "TESSERA_EVENTS_BYTES": str(1 << 28),
            "TESSERA_STORE_QUOTA_BYTES": str(1 << 30),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        places = ("--nats", server.url, "--store", (folder / "store").as_uri())
        for command in (("topology", *places[:2]), ("gc", *places, "--delete", "--settle-seconds", "0")):
            done = tessera(*command, **on)
            assert done.returncode == 0, done.stderr
        process = start("up", "--out", stack, "--replicas", "scorer=2", *places, log=log, **on)
        try:
            until(lambda: "up; logs in" in log.read_text() or process.poll() is not None, 60, "tessera up")
            known = dict(
                line.removeprefix("export ").split("=", 1) for line in log.read_text().splitlines() if "export" in line
            )
            submitted = tessera("submit", recipe, "--seed", 5, **known)
            assert submitted.returncode == 0, submitted.stderr
            run = submitted.stdout.strip()
            done = tessera("watch", run, "--out", folder / "out", **known)
            assert done.returncode == 0, done.stderr
            until(lambda: collector.of("round 1"), 60, "the span of the last round")
            asyncio.run(send_nonsense(server.url))
            (address,) = [one["metrics"] for one in lines(stack) if one["service"] == "host" and "metrics" in one]
            other = next(one["metrics"] for one in lines(stack) if one["service"] == "scorer" and "metrics" in one)

            def whole() -> Samples | None:
                """What both processes show, once the dead letter is counted."""
                samples = scrape(address)
                if value(samples, "tessera_dead_letters") != 1:
                    return None
                for name, more in scrape(other).items():
                    samples.setdefault(name, []).extend(more)
                return samples

            samples = until(whole, 60, "the dead letter")
        finally:
            process.send_signal(signal.SIGINT)
            ended = process.wait(30)
            end_started()
        assert ended == 0
        yield Seen(run, collector, samples)


def ancestors(span: Span, by_id: dict[str, Span]) -> Iterator[Span]:
    while span.parent:
        span = by_id[span.parent]
        yield span


@pytest.mark.parametrize("round_", [0, 1])
def test_a_round_is_one_connected_trace_from_coordinator_to_compute_child(seen: Seen, round_: int) -> None:
    (root,) = seen.collector.of(f"round {round_}")
    assert root.parent == ""
    assert (root.attributes["tessera.run"], root.attributes["tessera.round"], root.failed) == (seen.run, round_, False)
    trace = [span for span in seen.collector.spans if span.trace == root.trace]
    by_id = {span.id: span for span in trace}
    assert len(by_id) == len(trace), "every span arrived once"
    # Connected: from every span the way up ends at the round.
    for span in trace:
        assert span is root or list(ancestors(span, by_id))[-1] is root, span
    steps = sorted((span for span in trace if span.name.startswith("step ")), key=lambda span: span.start)
    assert [span.name for span in steps] == [f"step {name}" for name in RUN_STEPS[round_]]
    assert all(span.parent == root.id for span in steps)
    jobs = [span for span in trace if span.name.startswith("job ")]
    # Two shards of images: partition, score and featurize have two jobs; evaluate has one for each of val and test.
    assert {by_id[job.parent].name for job in jobs} == {span.name for span in steps}
    assert sum(int(str(step.attributes["tessera.jobs"])) for step in steps) == len(jobs)
    for job in jobs:
        assert job.attributes["tessera.run"] == seen.run
        assert job.attributes["tessera.outcome"] == "done"
        under = [span for span in trace if job in ancestors(span, by_id)]
        names = {span.name for span in under}
        assert names == {"read", "wait for cores", "child", "compute", "write", "commit"}, job
        (compute,) = [span for span in under if span.name == "compute"]
        assert by_id[compute.parent].name == "child"
        # The child's own clock, and its own process.
        assert compute.attributes["tessera.pid"] != int(job.instance.rsplit(":", 1)[1])
        assert job.start <= compute.start
        assert compute.end <= job.end


def test_the_second_scorer_is_part_of_the_trace(seen: Seen) -> None:
    assert {span.service for span in seen.collector.spans} == {"tessera-host", "tessera-scorer"}


def test_a_call_is_a_span_and_a_stream_is_none(seen: Seen) -> None:
    calls = {span.name for span in seen.collector.spans if span.name.startswith("tessera.v1.RunsService/")}
    assert "tessera.v1.RunsService/SubmitRun" in calls
    assert "tessera.v1.RunsService/WatchRun" not in calls


def test_metrics_tell_what_the_run_did(seen: Seen) -> None:
    got = seen.samples
    assert value(got, "tessera_rounds_total") == 2
    assert value(got, "tessera_budget_spent_total", unit="regions") == 24
    assert value(got, "tessera_round_seconds_count") == 2
    for split in ("val", "test"):
        assert value(got, "tessera_round_miou_count", split=split) == 2
        assert 0 <= value(got, "tessera_last_miou", split=split) <= 1
    # 6 images of the training pool; val and test have 3 each and are measured in both rounds.
    assert value(got, "tessera_images_total", method="Partition") == 6
    assert value(got, "tessera_images_total", method="Evaluate") == 12
    assert value(got, "tessera_job_seconds_count", method="Train", outcome="done") == 2
    assert value(got, "tessera_compute_seconds_total", method="Train") > 0
    assert value(got, "tessera_training_images_per_second", method="Train") > 0
    assert value(got, "tessera_rpc_seconds_count", path="tessera.v1.RunsService/SubmitRun", code="OK") == 1
    assert [number for _, number in got["tessera_nats_connected"]] == [1, 1]
    failures = {labels["reason"]: number for labels, number in got["tessera_job_failures_total"] if number}
    assert failures == {"bad_input": 1}
    assert value(got, "tessera_jetstream_bytes_limit") == 512 << 20
    assert value(got, "tessera_stream_bytes_limit", stream="EVENTS") == 1 << 28
    assert value(got, "tessera_store_bytes_limit") == 1 << 30
    assert value(got, "tessera_queue_waiting_jobs", method="Score") == 0
    assert value(got, "tessera_stream_messages_limit", stream="JOBS") == 100_000
    assert value(got, "tessera_stream_bytes", stream="EVENTS") > 0
    assert value(got, "tessera_process_info", service="host") == 1


def test_no_label_grows_with_runs_and_jobs(seen: Seen) -> None:
    labels = {name for samples in seen.samples.values() for labels, _ in samples for name in labels}
    assert labels <= {
        "method", "outcome", "reason", "stream", "split", "path", "code", "unit", "status", "state", "service", "le",
        "version",
    }  # fmt: skip
    shown = json.dumps(list(seen.samples.items()))
    assert seen.run not in shown
    assert "tiny_meal" not in shown


TARGET = {"pod", "namespace", "container", "instance", "job"}
"""Labels that Prometheus gives every series by where it reads it."""
OUTSIDE = {
    # The NATS exporter, by its own tables: 0.19.
    "jetstream_server_total_message_bytes": {"server_name"},
    "jetstream_server_max_storage": {"server_name"},
    # The kubelet and kube-state-metrics, by their documentation.
    "kubelet_volume_stats_available_bytes": {"persistentvolumeclaim"},
    "kubelet_volume_stats_capacity_bytes": {"persistentvolumeclaim"},
    "kube_statefulset_status_replicas_ready": {"statefulset"},
    "kube_statefulset_replicas": {"statefulset"},
    "kube_deployment_status_replicas_available": {"deployment"},
    "kube_pod_container_status_last_terminated_reason": {"reason"},
    "kube_pod_container_status_restarts_total": set(),
    "kube_job_status_failed": {"job_name"},
}
"""Series of other programs, with the labels that our expressions may use. No scrape of these is at hand here."""


def labels_of(series: Series, samples: Samples) -> set[str]:
    if series.name in OUTSIDE:
        return OUTSIDE[series.name] | TARGET
    return {name for labels, _ in samples.get(series.name, ()) for name in labels} | TARGET


@pytest.mark.parametrize("expression", [*alerts(), *panels()], ids=lambda one: one.owner)
def test_every_series_and_label_of_an_expression_is_in_the_scrape(expression: Expression, seen: Seen) -> None:
    for series in expression.series():
        found = seen.samples.get(series.name)
        assert found or series.name in OUTSIDE, series.name
        for label, operator, wanted in series.matchers:
            assert label in labels_of(series, seen.samples), f"{series.name} has no label {label}"
            if found and operator == "Equal":
                values = {labels[label] for labels, _ in found}
                known = wanted in values or (label == "outcome" and wanted in metrics.OUTCOMES)
                assert known, f"{series.name}: {label} is never {wanted}"
    for kind, grouped, below in expression.groups():
        have = [labels_of(one, seen.samples) for one in below]
        # What is matched by a label has it on both sides; a sum may take it from either.
        enough = [set[str]().union(*have)] if kind == "by" and have else have
        assert all(grouped <= labels for labels in enough), f"{expression.text} has no {grouped}"
    given = {label for series in expression.series() for label in labels_of(series, seen.samples)}
    assert expression.labels_shown() <= given
    sums = [grouped for kind, grouped, _ in expression.groups() if kind == "by"]
    if sums:
        assert expression.labels_shown() <= set[str]().union(*sums)


def test_a_series_that_nobody_makes_would_be_found(seen: Seen) -> None:
    for text in (
        "tessera_made_up > 0",
        'tessera_stream_messages{stream="MADE_UP"}',
        "sum by (run) (tessera_rounds_total)",
        'tessera_queue_waiting_jobs{stream="JOBS"}',
    ):
        with pytest.raises(AssertionError):
            test_every_series_and_label_of_an_expression_is_in_the_scrape(Expression("x", text, ""), seen)


def test_every_metric_of_the_table_is_shown_by_somebody(seen: Seen) -> None:
    shown = set(seen.samples)
    for name in (*metrics._GAUGES, *metrics._COUNTERS, *metrics._HISTOGRAMS):
        ends = ("", "_total", "_count")
        assert any(f"tessera_{name}{end}" in shown for end in ends), name
