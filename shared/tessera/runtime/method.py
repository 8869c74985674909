"""Declare service methods: all have one form.

A ``Method`` is bound to two doors, gRPC and a JetStream job subject, by ``runtime.service``. Its ``reads`` runs in the
worker's event loop and names the objects that the computation reads. Its ``compute`` runs in a child process and reads
the bytes of these objects alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from tessera.errors import TesseraError
from tessera.formats.blobs import Blobs
from tessera.pb.common_pb2 import ObjectRef


class Context(Protocol):
    """The access that ``reads`` has to the store."""

    async def fetch(self, ref: ObjectRef) -> bytes:
        """Return the verified bytes of a small object (manifest, table)."""
        ...


Reads = Callable[[Any, Context], Awaitable[list[ObjectRef]]]
Compute = Callable[[Any, Blobs], Message]


@dataclass(frozen=True)
class Method:
    """One service method, reachable with equal results through gRPC and JetStream.

    Its name, service, subject and messages are those that the protocol declares for ``path``. TesseraError when it
    declares none.
    """

    path: str
    """Service and method in the protocol, "tessera.v1.ScorerService/Score"."""
    reads: Reads
    """``async reads(request, context)``: references of all objects for ``compute``; they are fetched and verified."""
    compute: Compute
    """``compute(request, blobs) -> response`` at module level, called in the child. Its output is uploaded before the
    answer. It imports its libraries inside, because workers and the coordinator import its module."""
    algorithm: str
    """Version of the computation, part of the job key: bump it when results change."""
    timeout_seconds: float
    threads: int = 1
    """Compute threads per job; 0 means every core, and one such job at a time."""
    checkpoints: bool = False
    """Whether ``compute`` keeps checkpoints for a later attempt at the job (``Blobs.keep``). It must then end in the
    same response as if it had never stopped. Such jobs are long, so their workers learn at once that a run is
    cancelled.
    """

    @property
    def service(self) -> str:
        """Return the fully qualified gRPC service, "tessera.v1.ScorerService"."""
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        """Return the RPC name, "Score"."""
        return self.path.partition("/")[2]

    @property
    def verb(self) -> str:
        """Return the last token of the job subject, "score" → tessera.job.score."""
        return self.name.lower()

    @cached_property
    def request(self) -> type[Message]:
        """Return the message type of requests."""
        return message_factory.GetMessageClass(self._declared.input_type)

    @cached_property
    def response(self) -> type[Message]:
        """Return the message type of responses."""
        return message_factory.GetMessageClass(self._declared.output_type)

    @property
    def function(self) -> str:
        """Return the name of ``compute``, "package.module:function", by which the child imports it."""
        return f"{self.compute.__module__}:{self.compute.__qualname__}"

    def check(self) -> None:
        """Look the method up in the protocol; TesseraError when it is not there."""
        _ = self._declared

    @property
    def _declared(self) -> MethodDescriptor:
        try:
            return descriptor_pool.Default().FindServiceByName(self.service).methods_by_name[self.name]
        except KeyError:
            raise TesseraError(f"method {self.path}: the protocol declares none; add it to protos/tessera/v1") from None
