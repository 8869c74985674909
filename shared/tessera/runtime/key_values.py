"""Key-value buckets: a part of ``messaging``, with its errors."""

from __future__ import annotations

from tessera.runtime import wire
from tessera.runtime.streams import BucketEntry
from tessera.runtime.wire import translated


class KeyValues:
    """The buckets of a JetStream server."""

    def __init__(self, jetstream: wire.JetStreamContext) -> None:
        self._jetstream = jetstream
        self._buckets: dict[str, wire.KeyValue] = {}

    async def kv_get(self, bucket: str, key: str) -> BucketEntry | None:
        """Return the newest value of a key, or None."""
        with translated(f"key {bucket}/{key}"):
            try:
                entry = await (await self._bucket(bucket)).get(key)
            except wire.KeyNotFound:
                return None
            return BucketEntry(entry.value or b"", entry.revision or 0)

    async def kv_create(self, bucket: str, key: str, value: bytes) -> int:
        """Write a key that does not exist yet; Conflict when it does."""
        with translated(f"key {bucket}/{key}"):
            return int(await (await self._bucket(bucket)).create(key, value))

    async def kv_update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        """Replace revision ``revision`` of a key; Conflict when there is another."""
        with translated(f"key {bucket}/{key}"):
            return int(await (await self._bucket(bucket)).update(key, value, last=revision))

    async def kv_put(self, bucket: str, key: str, value: bytes) -> int:
        """Write a key, replacing any value."""
        with translated(f"key {bucket}/{key}"):
            return int(await (await self._bucket(bucket)).put(key, value))

    async def kv_delete(self, bucket: str, key: str) -> None:
        """Remove a key; no error when it is not there."""
        with translated(f"key {bucket}/{key}"):
            await (await self._bucket(bucket)).purge(key)

    async def _bucket(self, name: str) -> wire.KeyValue:
        if name not in self._buckets:
            self._buckets[name] = await self._jetstream.key_value(name)
        return self._buckets[name]
