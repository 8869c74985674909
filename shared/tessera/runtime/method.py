"""The one shape every service method has, and the two contexts its code sees.

A ``Method`` is bound to two doors, gRPC and a JetStream job subject, by ``runtime.service``. Its handler runs in the
worker's event loop and only talks: it names the objects the computation reads and calls ``context.compute``. The
compute function runs in a child process and touches nothing but the bytes it is given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from tessera.pb.common_pb2 import ObjectRef

Answer = TypeVar("Answer", bound=Message)


class Blobs(Protocol):
    """What a compute function sees of the store: verified bytes in, content-addressed bytes out."""

    def read(self, ref: ObjectRef) -> bytes:
        """Bytes of a reference that the handler named; KeyError-free: a missing one is a programming error."""
        ...

    def write(self, data: bytes, media_type: str) -> ObjectRef:
        """Hand bytes to the parent for upload; returns the final reference (content-addressed key)."""
        ...

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress in 0..1; cheap, the newest value wins."""
        ...


class Context(Protocol):
    """What a handler sees."""

    job_key: str
    attempt: int

    async def fetch(self, ref: ObjectRef) -> bytes:
        """Verified bytes of a small object (manifest, table)."""
        ...

    async def compute(
        self, function: str, request: Message, reads: Iterable[ObjectRef], response: type[Answer]
    ) -> Answer:
        """Run ``"package.module:function"`` as ``function(request, blobs) -> response`` in the compute child.

        ``reads`` are fetched and verified first; what the function wrote is uploaded before this returns.
        TesseraError when the function answers with another message than ``response``.
        """
        ...


Handler = Callable[[Any, Context], Awaitable[Message]]


@dataclass(frozen=True)
class Method:
    """One service method, reachable with equal results through gRPC and JetStream."""

    name: str
    """RPC name, "Score"."""
    service: str
    """Fully qualified gRPC service, "tessera.v1.ScorerService"."""
    verb: str
    """Last token of the job subject, "score" → tessera.job.score."""
    request: type[Message]
    response: type[Message]
    handler: Handler
    algorithm: str
    """Version of the computation, part of the job key: bump it when results change."""
    timeout_seconds: float
    threads: int = 1
    """Compute threads a job takes; 0 means every core, and one such job at a time."""
