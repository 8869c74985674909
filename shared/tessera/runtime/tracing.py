"""Traces of rounds and calls by OpenTelemetry; the only module that imports it. Needs ``tessera-al[otel]``.

One trace is one round of a run. Its ids are hashes of run, round and step, so coordinators that take turns, or one that
was started again, write one trace without telling each other anything. A job's message carries W3C's ``traceparent``
(https://www.w3.org/TR/trace-context/), and so do gRPC's metadata. While tracing is off, every function here returns at
its first line and nothing is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from tessera import __version__
from tessera.errors import BadInput
from tessera.runtime import errors
from tessera.runtime.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

Kind = Literal["internal", "client", "server", "producer", "consumer"]
Value = str | int | float | bool
HEADER: Final = "traceparent"
_EXPORT_SECONDS: Final = 5
_FLUSH_MILLISECONDS: Final = 3000


class SpanPlace(NamedTuple):
    """What a span of the loop is about; ``step`` is empty for the round itself, ``started`` is the run's time."""

    run: str
    started: float
    round: int
    step: str = ""


# The provider while tracing is on. One for the process, as loggers are.
_on: TracerProvider | None = None
# Ids (trace, span) of the next span, where they are not random.
_given: ContextVar[tuple[int, int] | None] = ContextVar("given", default=None)


def configure(service: str, settings: Settings) -> None:
    """Send spans to an OTLP collector if the settings say so; BadInput when OpenTelemetry is not installed.

    Address, headers, certificate and sampler are OpenTelemetry's own variables: ``OTEL_EXPORTER_OTLP_ENDPOINT``,
    ``OTEL_TRACES_SAMPLER``, … (by default http://localhost:4317 and every trace).
    """
    if settings.tracing == "none":
        return
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError:
        raise BadInput(
            "TESSERA_TRACING=otlp: needs OpenTelemetry; install it with pip install 'tessera-al[otel]', or leave "
            "TESSERA_TRACING out"
        ) from None
    patience = None if os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") else _EXPORT_SECONDS
    install(service, OTLPSpanExporter(timeout=patience))


def install(service: str, exporter: SpanExporter) -> None:
    """Trace this process and hand its spans to ``exporter``, in batches from a thread of their own."""
    global _on
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """Random ids, or those that ``_given`` holds."""

        def generate_trace_id(self) -> int:
            given = _given.get()
            return super().generate_trace_id() if given is None else given[0]

        def generate_span_id(self) -> int:
            given = _given.get()
            return super().generate_span_id() if given is None else given[1]

    about = {
        "service.namespace": "tessera",
        "service.name": f"tessera-{service}",
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
    }
    # The environment's OTEL_RESOURCE_ATTRIBUTES come on top.
    provider = TracerProvider(resource=Resource.create(about), id_generator=Ids(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _on = provider


def shutdown() -> None:
    """Send what is left, for a few seconds at most, and trace no more."""
    global _on
    provider, _on = _on, None
    if provider is not None:
        provider.force_flush(_FLUSH_MILLISECONDS)
        provider.shutdown()


def on() -> bool:
    """Return whether this process traces."""
    return _on is not None


@contextlib.contextmanager
def span(
    name: str, kind: Kind = "internal", parent: Mapping[str, str] | None = None, **attributes: Value
) -> Iterator[None]:
    """Trace a block; ``parent`` holds the headers of a message, else the span around it is the parent.

    An error marks the span with its reason (`errors.as_error`), never with the text of another library.
    """
    if _on is None:
        yield
        return
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    around = context.get_current() if parent is None else TraceContextTextMapPropagator().extract(parent)
    made = _tracer().start_span(name, around, trace.SpanKind[kind.upper()], _named(attributes))
    token = context.attach(trace.set_span_in_context(made, around))
    try:
        yield
    except Exception as error:
        _blame(made, error)
        raise
    finally:
        context.detach(token)
        made.end()


def note(**attributes: Value) -> None:
    """Add attributes to the span around this."""
    if _on is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(_named(attributes))


def blame(error: BaseException) -> None:
    """Mark the span around this as failed."""
    if _on is not None:
        from opentelemetry import trace

        _blame(trace.get_current_span(), error)


def happened(name: str, began: float, seconds: float, **attributes: Value) -> None:
    """Record what another process did as a child of the span around this; ``began`` is its ``time.monotonic``.

    For the compute child, which has neither network nor credentials and tells its parent when it worked.
    """
    if _on is None or not began:
        return
    first = int((time.time() - time.monotonic() + began) * 1e9)
    made = _tracer().start_span(name, attributes=_named(attributes), start_time=first)
    made.end(first + int(seconds * 1e9))


def headers() -> dict[str, str]:
    """Return the headers that make a message or call part of this trace; empty without one."""
    found: dict[str, str] = {}
    if _on is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(found)
    return found


def trace_id() -> str:
    """Return the id of the trace around this, 32 hexadecimal digits; empty without one."""
    if _on is None:
        return ""
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else ""


@contextlib.contextmanager
def within(place: SpanPlace) -> Iterator[None]:
    """Make what happens in the block part of a step, whose own span `ended` records when it is over."""
    if _on is None:
        yield
        return
    from opentelemetry import context, trace

    token = context.attach(trace.set_span_in_context(_begun(place, None)))
    try:
        yield
    finally:
        context.detach(token)


def ended(place: SpanPlace, began: float, end: float, trouble: str = "", **attributes: Value) -> None:
    """Record the span of a step, or of a round, by the times of its events in seconds since the epoch."""
    if _on is None:
        return
    from opentelemetry import trace

    made = _begun(place, int(began * 1e9))
    made.set_attributes(_named({"run": place.run, "round": place.round, **attributes}))
    if trouble:
        made.set_status(trace.StatusCode.ERROR, trouble)
    made.end(max(int(end * 1e9), int(began * 1e9)))


def _begun(place: SpanPlace, start: int | None) -> Any:
    """Begin a span with the ids of its place. Unless it is ended, nobody hears of it."""
    from opentelemetry import context, trace

    around = context.Context()
    if place.step:
        around = trace.set_span_in_context(_begun(place._replace(step=""), start), around)
    token = _given.set(_ids(place))
    try:
        name = f"step {place.step}" if place.step else f"round {place.round}"
        return _tracer().start_span(name, around, start_time=start)
    finally:
        _given.reset(token)


def _ids(place: SpanPlace) -> tuple[int, int]:
    """Return the ids of trace and span. A name that is used again after a run was given up starts at another time."""
    of_round = hashlib.sha256(f"{place.run}\0{place.started!r}\0{place.round}".encode()).digest()
    of_step = hashlib.sha256(of_round + place.step.encode()).digest()
    return int.from_bytes(of_round[:16]) or 1, int.from_bytes(of_step[:8]) or 1


def _tracer() -> Any:
    assert _on is not None  # noqa: S101  # callers have looked
    return _on.get_tracer("tessera", __version__)


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {f"tessera.{name}": value for name, value in attributes.items()}


def _blame(made: Any, error: BaseException) -> None:
    from opentelemetry import trace

    known = errors.as_error(error)
    made.set_attribute("error.type", known.reason)
    made.set_status(trace.StatusCode.ERROR, str(known)[:500])
