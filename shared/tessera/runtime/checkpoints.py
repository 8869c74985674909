"""Checkpoints of a long computation, so that the next attempt at the job goes on from there.

Two objects below the job's key take turns, so that one is whole while the other is written, and an index names them by
reference, newest first: they are verified like any object. They are removed when the job has its record. Those of a
failed job stay until ``tessera gc`` finds that nothing names the job.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Final

from tessera.errors import BadInput, CorruptObject, TesseraError
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.objects import ObjectStore

PREFIX: Final = "checkpoints/"
_MEDIA_TYPE: Final = "application/octet-stream"
_INDEX_BYTES: Final = 1 << 16
_SLOTS: Final = ("a", "b")
_NEVER: Final = float("inf")

_uploads: Final[set[asyncio.Task[None]]] = set()
_log = logging.getLogger(__name__)


class Checkpoints:
    """Checkpoints of one job. ``distrusted`` (`responses.digest`) names the record that the job replaces: checkpoints
    of that earlier computation are not used."""

    def __init__(self, store: ObjectStore, job_key: str, distrusted: str = "") -> None:
        self._store, self._key, self._distrusted = store, job_key, distrusted
        self._kept: list[ObjectRef] = []
        self._waiting: Path | None = None
        self._upload: asyncio.Task[None] | None = None

    async def earlier(self) -> Path | None:
        """Return a verified local file of the newest whole checkpoint; None: there is none."""
        self._kept = await self._index()
        for ref in self._kept:
            try:
                found = await self._store.path(ref)
                _log.info("the job goes on from a checkpoint", extra={"job_key": self._key, "checkpoint": ref.key})
                return found
            except (CorruptObject, BadInput) as error:
                _log.warning("a checkpoint cannot be used", extra={"job_key": self._key, "error": str(error)})
        return None

    def keep(self, path: Path) -> None:
        """Store the file in the background, unless a newer one comes before its turn; takes ownership of the file."""
        try:
            taken = path.rename(path.parent.with_name(f"{path.parent.name}-{path.name}"))
        except OSError:
            return  # the job has ended meanwhile, and its folder with it
        if self._waiting is not None:
            self._waiting.unlink(missing_ok=True)
        self._waiting = taken
        if self._upload is None or self._upload.done():
            self._upload = asyncio.create_task(self._store_waiting())
            _uploads.add(self._upload)  # it may outlive a job that is given back
            self._upload.add_done_callback(_uploads.discard)

    async def settle(self) -> None:
        """Wait until every kept file is stored."""
        if self._upload is not None:
            await asyncio.wait([self._upload])

    async def forget(self) -> None:
        """Remove everything; ``tessera gc`` removes what a store fails to delete."""
        await self.settle()
        try:
            for name in ("index.json", *_SLOTS):
                await self._store.delete(self._at(name), _NEVER)
        except TesseraError as error:
            _log.warning("checkpoints stay in the store", extra={"job_key": self._key, "error": str(error)})

    async def _store_waiting(self) -> None:
        while (path := self._waiting) is not None:
            self._waiting = None
            try:
                await self._put(await asyncio.to_thread(path.read_bytes))
            except (TesseraError, OSError) as error:
                # The computation goes on without a checkpoint: a later attempt only repeats more of it.
                _log.warning("a checkpoint was not stored", extra={"job_key": self._key, "error": str(error)})
            finally:
                path.unlink(missing_ok=True)

    async def _put(self, data: bytes) -> None:
        newest = self._kept[0].key if self._kept else ""
        slot = next(name for name in _SLOTS if self._at(name) != newest)
        ref = await self._store.put(self._at(slot), data, _MEDIA_TYPE)
        self._kept = [ref, *[one for one in self._kept if one.key != ref.key]]
        rows = [{"key": one.key, "sha256": one.sha256, "size": one.size} for one in self._kept]
        index = json.dumps({"distrusted": self._distrusted, "kept": rows}).encode()
        await self._store.put(self._at("index.json"), index, "application/json")

    async def _index(self) -> list[ObjectRef]:
        try:
            data = await self._store.read_key(self._at("index.json"), _INDEX_BYTES)
            if data is None:
                return []
            index = json.loads(data)
            if index["distrusted"] != self._distrusted:
                return []
            known = {self._at(name) for name in _SLOTS}
            return [
                ObjectRef(bucket=self._store.bucket, media_type=_MEDIA_TYPE, **row)
                for row in index["kept"]
                if row["key"] in known
            ]
        except (BadInput, ValueError, KeyError, TypeError) as error:
            _log.warning("the index of checkpoints cannot be read", extra={"job_key": self._key, "error": str(error)})
            return []

    def _at(self, name: str) -> str:
        return f"{PREFIX}{self._key}/{name}"
