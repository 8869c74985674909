"""Metrics for Prometheus, answered at ``/metrics``; the only module that imports ``prometheus_client``.

No label has more values than the code has names: methods, outcomes, reasons, streams, splits, gRPC paths and codes.
Runs, jobs, workers and recipes are never labels: they grow for ever, and with them every Prometheus that reads them.
While no port is set, every function here returns at its first line and nothing is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tessera import __version__
from tessera.errors import BadInput
from tessera.runtime.settings import Settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

OUTCOMES: Final = ("done", "failed", "retried", "cancelled", "given_back", "passed_on", "postponed", "broken")
"""Ends of a delivery of a job: its result was published; it failed for good; it is tried again; its run was cancelled;
this process leaves; it wants another version of its method; a server was away; a bug of ours."""
SPLITS: Final = ("train", "val", "test", "other")
_JOB_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200)
_ROUND_SECONDS: Final = (10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
_CALL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)

_COUNTERS: Final = {
    "job_failures": ("Jobs that failed for good", ("method", "reason")),
    "compute_seconds": ("Seconds inside compute functions", ("method",)),
    "images": ("Images that were computed on, by jobs on one range of images", ("method",)),
    "rounds": ("Rounds that this coordinator ended", ()),
    "budget_spent": ("What these rounds were labelled for", ("unit",)),
    "jobs_redone": ("Results that are computed again, because they were lost or damaged", ()),
}
_GAUGES: Final = {
    "process_info": ("1; which process this is", ("service", "version")),
    "nats_connected": ("1 while the connection to NATS is up", ()),
    "compute_children": ("Compute children of this process", ("state",)),
    "jobs_waiting_for_cores": ("Jobs in hand that wait for cores of this process", ()),
    "training_images_per_second": ("Speed of the last training's steps", ("method",)),
    "queue_waiting_jobs": ("Jobs that nobody has taken", ("method",)),
    "queue_taken_jobs": ("Jobs that were taken and have not ended", ("method",)),
    "queue_oldest_seconds": ("Age of the oldest job that has not ended; 0: there is none", ("method",)),
    "queue_unseen_seconds": ("Seconds without a sign of a worker", ("method",)),
    "dead_letters": ("Jobs in the dead letters", ()),
    "stream_messages": ("Messages of a stream or bucket of NATS", ("stream",)),
    "stream_messages_limit": ("Most messages that the stream takes, where it has a limit", ("stream",)),
    "stream_bytes": ("Bytes of a stream or bucket of NATS", ("stream",)),
    "stream_bytes_limit": ("Most bytes that the stream takes, where it has a limit", ("stream",)),
    "jetstream_bytes": ("Bytes that JetStream stores for this account", ()),
    "jetstream_bytes_limit": ("Most bytes that JetStream stores, where the account has a limit", ()),
    "store_bytes": ("Bytes that tessera gc --delete left in the object store", ()),
    "store_objects": ("Objects that tessera gc --delete left in the object store", ()),
    "store_bytes_limit": ("Most bytes that the store should hold (TESSERA_STORE_QUOTA_BYTES)", ()),
    "store_measured_timestamp_seconds": ("When it did", ()),
    "runs": ("Runs that this coordinator knows", ("status",)),
    "last_miou": ("mIoU of the round that ended last, of any run", ("split",)),
}
_HISTOGRAMS: Final = {
    "job_seconds": ("From taking a job to its end", ("method", "outcome"), _JOB_SECONDS),
    "rpc_seconds": ("Answering a gRPC call; of a stream, all of it", ("path", "code"), _CALL_SECONDS),
    "round_seconds": ("From the first step of a round to its end", (), _ROUND_SECONDS),
    "round_miou": ("mIoU of ended rounds", ("split",), tuple(tenth / 20 for tenth in range(1, 20))),
}


class _Meters:
    """The metrics of this process, each made when it is first used: a worker shows none of a coordinator's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._made: dict[str, Any] = {}

    def of(self, name: str, labels: Mapping[str, str]) -> Any:
        """Return the child of a metric with these labels; KeyError for a name that no table has."""
        if name not in self._made:
            self._made[name] = self._make(name)
        found = self._made[name]
        return found.labels(**labels) if labels else found

    def remove(self, name: str, labels: Mapping[str, str]) -> None:
        """Show this gauge no more."""
        if name in self._made and labels:
            self._made[name].remove_by_labels(dict(labels))
        elif name in self._made:
            self._registry.unregister(self._made.pop(name))

    def _make(self, name: str) -> Any:
        from prometheus_client import Counter, Gauge, Histogram

        called = f"tessera_{name}"
        if name in _HISTOGRAMS:
            about, labels, buckets = _HISTOGRAMS[name]
            return Histogram(called, about, labels, buckets=buckets, registry=self._registry)
        kind = Counter if name in _COUNTERS else Gauge
        return kind(called, *(_COUNTERS | _GAUGES)[name], registry=self._registry)


# The metrics while they are on. One set for the process, as loggers are.
_on: _Meters | None = None


class Exposition:
    """Answers Prometheus until ``close``; ``address`` is ``host:port``."""

    def __init__(self, service: str, settings: Settings) -> None:
        """Listen; BadInput when the port is taken."""
        global _on
        from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        host, port = settings.metrics_host, settings.metrics_port or 0
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise BadInput(
                f"metrics address {host}:{port}: {error.strerror}; set TESSERA_METRICS_HOST and TESSERA_METRICS_PORT "
                "(0: any free port)"
            ) from None
        self.address = f"{host}:{self._server.server_port}"
        _on = _Meters(registry)
        gauge("process_info", 1, service=service, version=__version__)

    def close(self) -> None:
        """Stop answering, and forget every value."""
        global _on
        _on = None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


def expose(service: str, settings: Settings) -> Exposition | None:
    """Measure this process from now on; None, and no metrics, where ``TESSERA_METRICS_PORT`` is not set."""
    return None if settings.metrics_port is None else Exposition(service, settings)


def on() -> bool:
    """Return whether this process is measured."""
    return _on is not None


def count(name: str, value: float = 1.0, **labels: str) -> None:
    """Add to a counter."""
    if _on is not None:
        _on.of(name, labels).inc(value)


def zero(name: str, **labels: str) -> None:
    """Show a counter or a histogram before anything is counted in it.

    Prometheus' ``increase`` starts at the first value that it reads: of a series that begins at 1 it never sees that 1,
    so that the first round, or the first bug, would not be told.
    """
    if _on is not None:
        _on.of(name, labels)


def gauge(name: str, value: float | None, **labels: str) -> None:
    """Set a gauge; None: it has no value now, and is not shown."""
    if _on is None:
        return
    if value is None:
        _on.remove(name, labels)
    else:
        _on.of(name, labels).set(value)


def watch(name: str, value: Callable[[], float], **labels: str) -> None:
    """Let a gauge have the value of a function, called at each scrape from another thread."""
    if _on is not None:
        _on.of(name, labels).set_function(value)


def observe(name: str, value: float, trace: str = "", **labels: str) -> None:
    """Add a value to a histogram; ``trace`` leads from its bucket to one trace (OpenMetrics: an exemplar)."""
    if _on is not None:
        _on.of(name, labels).observe(value, {"trace_id": trace} if trace else None)


def split(name: str) -> str:
    """Return the label of a split; data sets may name theirs as they like."""
    return name if name in SPLITS else "other"
