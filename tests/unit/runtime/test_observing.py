"""What jobs and calls leave in metrics, traces and logs: a real worker and real servers, spans kept in memory."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tessera.errors import BadInput
from tessera.pb.scorer_pb2 import ScoreResponse
from tessera.runtime import metrics, rpc, telemetry, tracing
from tessera.runtime.service import serve
from tessera.runtime.settings import load
from tessera.runtime.tracing import SpanPlace
from toy import handler
from toy.harness import RUN, Bed, bed, envelope, eventually, request

PLACE = SpanPlace(RUN, 12.5, 3, "score")


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """This process traces, and its spans stay here."""
    kept = InMemorySpanExporter()
    tracing.install("test", kept)
    yield kept
    tracing.shutdown()


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged, as a service logs it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    telemetry.configure("scorer", load(), stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


@contextlib.asynccontextmanager
async def serving(made: Bed, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, str]]:
    """The toy service in this process: its gRPC address, and that of its metrics."""
    announced = made.folder / "ready"
    monkeypatch.setenv("TESSERA_READY_FILE", str(announced))
    monkeypatch.setenv("TOY_RUNS", str(made.folder / "runs"))
    monkeypatch.setenv("PYTHONPATH", made.environment["PYTHONPATH"])
    ready = asyncio.Event()
    served = asyncio.create_task(
        serve(["scorer"], made.settings, load=lambda _: handler, on_ready=lambda _: ready.set(), signals=False)
    )
    try:
        await asyncio.wait([served, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
        facts = json.loads(announced.read_text())
        yield facts["address"], facts.get("metrics", "")
    finally:
        served.cancel()
        await asyncio.wait([served])


async def scraped(address: str) -> list[str]:
    def ask() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    return (await asyncio.to_thread(ask)).splitlines()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    assert tracing._on is not None
    tracing._on.force_flush()
    return [span for span in spans.get_finished_spans() if span.name == name]


async def test_every_end_of_a_job_is_counted_traced_and_logged(
    tmp_path: Path,
    nats_url: str,
    monkeypatch: pytest.MonkeyPatch,
    spans: InMemorySpanExporter,
    logged: io.StringIO,
) -> None:
    async with (
        bed(tmp_path, nats_url, metrics_port=0, version_patience=600) as made,
        serving(made, monkeypatch) as (_, where),
    ):
        with tracing.within(PLACE):
            good, bad = await made.submit(request(1), request(2, "bad:x"))
            await made.events.dispatch(envelope(request(3), algorithm="toy/2"))
        await made.submit(request(4, "sleep:60"), run_id="run-2")
        await eventually(lambda: made.runs(4))
        await made.events.cancel("run-2", "enough")
        await made.ends(2)
        ends = {'"done"': 1, '"failed"': 1, '"cancelled"': 1}
        count = 'tessera_job_seconds_count{method="Score",outcome='

        async def counted() -> bool:
            found = await scraped(where)
            return all(
                f"{count.replace('outcome=', f'outcome={end}')}}} {many}.0" in found for end, many in ends.items()
            )

        await eventually(counted)
        found = await scraped(where)
        assert any('outcome="passed_on"' in line for line in found)
        assert 'tessera_job_failures_total{method="Score",reason="bad_input"} 1.0' in found
        # What has not happened is there, too: Prometheus counts from what it has seen.
        assert 'tessera_job_seconds_count{method="Score",outcome="broken"} 0.0' in found
        assert 'tessera_job_failures_total{method="Score",reason="crashed"} 0.0' in found
        assert "tessera_nats_connected 1.0" in found
        assert not [line for line in found if RUN in line or good in line]
        # A coordinator's metrics are not a worker's.
        assert not [line for line in found if line.startswith(("tessera_jetstream", "tessera_dead_letters"))]
    trace, step = tracing._ids(PLACE)
    jobs = {str(span.attributes["tessera.job_key"]): span for span in named(spans, "job Score") if span.attributes
            and span.attributes["tessera.outcome"] in ("done", "failed")}  # fmt: skip
    assert set(jobs) == {good, bad}
    for key, job in jobs.items():
        assert job.context is not None
        assert job.parent is not None
        assert (job.context.trace_id, job.parent.span_id) == (trace, step)
        assert job.status.is_ok is (key != bad)
    told = [json.loads(line) for line in logged.getvalue().splitlines()]
    (failure,) = [line for line in told if line["event"] == "job failed"]
    assert (failure["run"], failure["job_key"], failure["trace_id"]) == (RUN, bad, f"{trace:032x}")
    # Said once for the process, and about no job.
    assert not [line for line in told if line["event"] == "left" and "job_key" in line]


async def test_a_call_continues_the_trace_of_its_caller(
    tmp_path: Path, nats_url: str, monkeypatch: pytest.MonkeyPatch, spans: InMemorySpanExporter
) -> None:
    path = "tessera.v1.ScorerService/Score"
    async with bed(tmp_path, nats_url, metrics_port=0) as made, serving(made, monkeypatch) as (address, where):
        with tracing.span("caller"):
            await rpc.call(address, path, request(1), ScoreResponse, 120)
        with pytest.raises(BadInput):
            await rpc.call(address, path, request(2, "bad:x"), ScoreResponse, 120)
        found = await scraped(where)
    assert f'tessera_rpc_seconds_count{{code="OK",path="{path}"}} 1.0' in found
    assert f'tessera_rpc_seconds_count{{code="INVALID_ARGUMENT",path="{path}"}} 1.0' in found
    (caller,), (answered, refused) = named(spans, "caller"), named(spans, path)
    assert caller.context is not None
    assert answered.parent is not None
    assert answered.parent.span_id == caller.context.span_id
    assert refused.parent is None
    assert not refused.status.is_ok
    below = {span.name for span in spans.get_finished_spans() if span.context.trace_id == caller.context.trace_id}
    assert below >= {path, "child", "compute", "commit"}


def test_coordinators_that_never_met_write_one_trace(spans: InMemorySpanExporter) -> None:
    first = [tracing._ids(PLACE._replace(step=step)) for step in ("", "score", "select")]
    assert len({trace for trace, _ in first}) == 1
    assert len({span for _, span in first}) == 3
    others = [PLACE._replace(run="run-2"), PLACE._replace(round=4), PLACE._replace(started=12.75)]
    assert len({tracing._ids(place)[0] for place in (PLACE, *others)}) == 4
    tracing.ended(PLACE, 100.0, 101.5, jobs=2)
    tracing.ended(PLACE._replace(step=""), 99.0, 103.0, trouble="failed")
    (step,), (whole,) = named(spans, "step score"), named(spans, "round 3")
    assert step.parent is not None
    assert whole.context is not None
    assert step.parent.span_id == whole.context.span_id
    assert whole.parent is None
    assert (step.start_time, step.end_time) == (100_000_000_000, 101_500_000_000)
    assert (step.status.is_ok, whole.status.is_ok) == (True, False)


def test_a_foreign_header_is_no_error(spans: InMemorySpanExporter) -> None:
    for header in (
        "",
        "nonsense",
        "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "a" * 32 + "-" + "b" * 16 + "-01",
    ):
        with tracing.span("job", parent={tracing.HEADER: header}):
            pass
    assert all(span.parent is None for span in named(spans, "job"))
    with tracing.span("job", parent={tracing.HEADER: f"00-{'a' * 32}-{'b' * 16}-01"}):
        assert tracing.trace_id() == "a" * 32
        assert tracing.headers()[tracing.HEADER].startswith(f"00-{'a' * 32}-")


def test_nothing_is_imported_or_sent_while_both_are_off() -> None:
    code = (
        "import sys\n"
        "from tessera.runtime import metrics, service, tracing\n"
        "from tessera.runtime.settings import load\n"
        "tracing.configure('x', load()); assert metrics.expose('x', load()) is None\n"
        "with tracing.span('a'): assert tracing.headers() == {} and tracing.trace_id() == ''\n"
        "metrics.count('rounds'); metrics.observe('round_seconds', 1.0)\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus_client'))]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadInput, match=f"127.0.0.1:{taken.getsockname()[1]}.*TESSERA_METRICS_PORT"):
            metrics.expose("x", load(metrics_port=taken.getsockname()[1]))
    assert not metrics.on()


async def test_tracing_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(BadInput, match=r"tessera-al\[otel\]"):
        tracing.configure("x", load(tracing="otlp"))
    assert not tracing.on()


def test_a_metric_has_only_the_labels_of_its_table() -> None:
    shown = metrics.expose("x", load(metrics_port=0))
    assert shown is not None
    try:
        with pytest.raises(ValueError, match="label"):
            metrics.count("images", run="run-1")
        with pytest.raises(KeyError):
            metrics.gauge("made_up", 1)
        assert [metrics.split(name) for name in ("val", "a data set's own")] == ["val", "other"]
    finally:
        shown.close()
