"""What is told of one job or call to all three: metrics, traces and logs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

from tessera.runtime import errors, metrics, telemetry, tracing


class JobSeen:
    """One delivery of a job; ``outcome`` is one of `metrics.OUTCOMES`."""

    def __init__(self) -> None:
        self.outcome = "broken"


def begin(method: str) -> None:
    """Show what will be counted of a method's jobs, at 0, as soon as this process takes them."""
    for name in metrics.OUTCOMES:
        metrics.zero("job_seconds", method=method, outcome=name)
    for reason in errors.REASONS:
        metrics.zero("job_failures", method=method, reason=reason)
    for total in ("compute_seconds", "images"):
        metrics.zero(total, method=method)


_job: ContextVar[JobSeen | None] = ContextVar("job", default=None)


@contextlib.contextmanager
def job(method: str, headers: Mapping[str, str]) -> Iterator[None]:
    """Observe the handling of one delivery, as a part of the trace that its headers name."""
    seen, began = JobSeen(), time.monotonic()
    token = _job.set(seen)
    try:
        with telemetry.bound(), tracing.span(f"job {method}", "consumer", headers, method=method):
            try:
                yield
            finally:
                tracing.note(outcome=seen.outcome)
                trace, seconds = tracing.trace_id(), time.monotonic() - began
                metrics.observe("job_seconds", seconds, trace, method=method, outcome=seen.outcome)
    finally:
        _job.reset(token)


def about(run: str, job_key: str) -> None:
    """Say which job it is that is handled here."""
    telemetry.bind(run=run, job_key=job_key)
    tracing.note(run=run, job_key=job_key)


def outcome(name: str, error: BaseException | None = None) -> None:
    """Say how the handling of this delivery ends, and why."""
    seen = _job.get()
    if seen is not None:
        seen.outcome = name
    if error is not None:
        tracing.blame(error)


def failed(method: str, error: BaseException) -> None:
    """Say that a job of a method has failed for good."""
    outcome("failed", error)
    metrics.count("job_failures", method=method, reason=errors.as_error(error).reason)


def computed(method: str, seconds: float, images: int, images_per_second: float) -> None:
    """Say that a result was computed: seconds in compute functions, images of its request, speed of a training."""
    metrics.count("compute_seconds", seconds, method=method)
    if images:
        metrics.count("images", images, method=method)
    if images_per_second:
        metrics.gauge("training_images_per_second", images_per_second, method=method)


@contextlib.contextmanager
def call(path: str, metadata: Mapping[str, str] | None) -> Iterator[None]:
    """Observe a gRPC call that this process answers; the caller's metadata name its trace, None: it is not traced."""
    began, code = time.monotonic(), "OK"
    try:
        with contextlib.nullcontext() if metadata is None else tracing.span(path, "server", metadata):
            yield
    except Exception as error:
        code = errors.status_name(error)
        raise
    finally:
        metrics.observe("rpc_seconds", time.monotonic() - began, path=path, code=code)
