"""An OpenTelemetry collector for tests: real OTLP over gRPC, kept in memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class Span:
    """A finished span; times in seconds since the epoch, ids in hexadecimal."""

    name: str
    service: str
    instance: str
    trace: str
    id: str
    parent: str
    start: float
    end: float
    failed: bool
    attributes: dict[str, object]


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """What arrived so far."""

    spans: list[Span] = field(default_factory=list)
    endpoint: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def Export(self, request, context):  # the protocol's name
        with self._lock:
            for part in request.resource_spans:
                about = _plain(part.resource.attributes)
                who = str(about["service.name"]), str(about["service.instance.id"])
                self.spans += [
                    Span(
                        one.name, *who, one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex(),
                        one.start_time_unix_nano / 1e9, one.end_time_unix_nano / 1e9, one.status.code == 2,
                        _plain(one.attributes),
                    )
                    for scope in part.scope_spans
                    for one in scope.spans
                ]  # fmt: skip
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, name: str) -> list[Span]:
        """Spans of a name, in order of their beginning."""
        with self._lock:
            return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start)


def _plain(attributes) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on the loopback, until the end of the block."""
    with futures.ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        collector = Collector()
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
        collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collector
        finally:
            server.stop(0).wait()
