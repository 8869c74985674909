"""The store as a computation sees it."""

from __future__ import annotations

from typing import Protocol

from tessera.pb.common_pb2 import ObjectRef


class Blobs(Protocol):
    """Verified bytes in, content-addressed bytes out."""

    def read(self, ref: ObjectRef) -> bytes:
        """Return the bytes of a reference among the reads of the job; any other is a programming error."""
        ...

    def write(self, data: bytes, media_type: str) -> ObjectRef:
        """Hand bytes over for upload; return the final reference (content-addressed key)."""
        ...

    def earlier(self) -> bytes | None:
        """What an earlier attempt at this very job kept last; None: nothing, or the method keeps nothing."""
        ...

    def due(self) -> bool:
        """Whether it is time to `keep` again."""
        ...

    def keep(self, data: bytes) -> None:
        """Keep what a later attempt at this job needs to go on from here; the newest counts."""
        ...

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress in 0..1; cheap, the newest value wins."""
        ...
