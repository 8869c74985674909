"""Results of jobs: found, committed, and decided between when two workers did the same job.

The record is stored under its content first, then at the job key's path, then named in the ``results`` bucket: whoever
creates that key wins, and everybody else takes the winner's record. A crash after any step leaves a state from which
the next attempt ends with one record.
"""

from __future__ import annotations

import json
from typing import Final

from google.protobuf import json_format

from tessera.errors import Conflict, CorruptObject
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.jobs_pb2 import JobRecord
from tessera.runtime import failpoints, jobkeys, topology
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.streams import BucketEntry

_MEDIA_TYPE: Final = "application/json"
_MAX_BYTES: Final = 4 << 20


class Records:
    """Every job's record, in the store and in the ``results`` bucket."""

    def __init__(self, messaging: Messaging, store: ObjectStore) -> None:
        self._messaging = messaging
        self._store = store

    async def find(self, method: str, job_key: str) -> JobRecord | None:
        """Return the record of a finished job, or None.

        A record that lies at its path but was never named in the bucket (its worker died, or NATS was lost) becomes
        the result now.
        """
        entry = await self._messaging.kv_get(topology.RESULTS, job_key)
        if entry is not None:
            return await self._named(entry)
        data = await self._store.read_key(jobkeys.record_key(method, job_key), _MAX_BYTES)
        if data is None:
            return None
        return await self._decide(method, job_key, _from_json(data, job_key), data)

    async def commit(self, record: JobRecord) -> JobRecord:
        """Make this the job's record unless it has one; returns the job's record."""
        return await self._decide(record.method, record.job_key, record, to_json(record))

    async def _decide(self, method: str, job_key: str, record: JobRecord, data: bytes) -> JobRecord:
        ref = await self._store.put_content(data, _MEDIA_TYPE)
        failpoints.reached("content")
        path = jobkeys.record_key(method, job_key)
        if await self._store.exists(path) is None:
            await self._store.put(path, data, _MEDIA_TYPE)
        failpoints.reached("record")
        try:
            await self._messaging.kv_create(topology.RESULTS, job_key, _spell(ref))
            winner = record
        except Conflict:
            winner = await self._adopt(job_key, record, ref)
        failpoints.reached("result")
        # Two workers may have written the path at once: it ends as the winner's.
        final = to_json(winner)
        if await self._store.read_key(path, _MAX_BYTES) != final:
            await self._store.put(path, final, _MEDIA_TYPE)
        return winner

    async def _adopt(self, job_key: str, mine: JobRecord, ref: ObjectRef) -> JobRecord:
        entry = await self._messaging.kv_get(topology.RESULTS, job_key)
        if entry is None:
            raise Conflict(f"job {job_key}: its result changed while it was written; trying again")
        winner = await self._named(entry)
        if winner is None:
            await self._messaging.kv_update(topology.RESULTS, job_key, _spell(ref), entry.revision)
            return mine
        return winner

    async def _named(self, entry: BucketEntry) -> JobRecord | None:
        """Read the record that the bucket names; None when the store has lost it, so that the job is done again."""
        fields = json.loads(entry.value)
        ref = ObjectRef(**fields, bucket=self._store.bucket, media_type=_MEDIA_TYPE)
        if await self._store.exists(ref.key) is None:
            return None
        return _from_json(await self._store.get(ref), ref.key)


def to_json(record: JobRecord) -> bytes:
    """Protobuf JSON with sorted keys: equal records give equal bytes."""
    fields = json_format.MessageToDict(record, preserving_proto_field_name=True)
    return json.dumps(fields, sort_keys=True, indent=1).encode()


def _from_json(data: bytes, name: str) -> JobRecord:
    try:
        return json_format.Parse(data, JobRecord(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise CorruptObject(
            f"job record {name}: is not a job record ({error}); delete it to run the job again"
        ) from None


def _spell(ref: ObjectRef) -> bytes:
    return json.dumps({"key": ref.key, "sha256": ref.sha256, "size": ref.size}, sort_keys=True).encode()
