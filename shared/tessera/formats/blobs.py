"""The store's interface for computations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tessera.pb.common_pb2 import ObjectRef


class Blobs(Protocol):
    """Verified bytes in, content-addressed bytes out."""

    def read(self, ref: ObjectRef) -> bytes:
        """Return the bytes of a reference among the reads of the job; any other is a programming error."""
        ...

    def local(self) -> Mapping[str, str]:
        """Return the files of the job's reads by their sha256, for processes that the computation starts."""
        ...

    def write(self, data: bytes, media_type: str) -> ObjectRef:
        """Hand bytes over for upload; return the final reference (content-addressed key)."""
        ...

    def earlier(self) -> bytes | None:
        """Return the last checkpoint of an earlier attempt at this job; None: there is none."""
        ...

    def due(self) -> bool:
        """Return whether it is time for the next checkpoint."""
        ...

    def keep(self, data: bytes) -> None:
        """Keep a checkpoint, from which a later attempt at this job goes on; only the newest counts."""
        ...

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress in 0..1; cheap, the newest value wins."""
        ...

    def speed(self, images_per_second: float) -> None:
        """Report how fast a training was; it stands in the job's record, not in its result."""
        ...
