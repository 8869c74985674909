"""Find, verify and commit results of jobs, and choose one when two workers did the same job.

The record is stored under its content first, then at the job key's path, then named by its hash in the ``results``
bucket: whoever creates that key wins, and everybody else takes the winner's record. A crash after any step leaves a
state from which the next attempt ends with one record.

Every record is verified when it is read. One that is lost, cut, another job's, without its objects, or not the one that
was committed counts as absent, so that the job is done again. It is compared with the hash in the bucket; where NATS is
new, with the copy under the content's key, which a change of the record alone does not reach; and with its seal, where
the deployment has a key (``TESSERA_RECORD_KEY``).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from typing import Final

from google.protobuf import json_format

from tessera.errors import BadInput, Conflict, CorruptObject
from tessera.loop.responses import digest, references, response_of
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.jobs_pb2 import JobRecord
from tessera.runtime import failpoints, jobkeys, objects, topology
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.settings import Settings
from tessera.runtime.streams import BucketEntry

_log = logging.getLogger(__name__)
_MEDIA_TYPE: Final = "application/json"
_MAX_BYTES: Final = 4 << 20


class Records:
    """Every job's record, in the store and in the ``results`` bucket; ``key`` seals records (empty: no seal)."""

    def __init__(self, messaging: Messaging, store: ObjectStore, key: str = "") -> None:
        self._messaging = messaging
        self._store = store
        self._key = key.encode()

    @classmethod
    def of(cls, messaging: Messaging, store: ObjectStore, settings: Settings) -> Records:
        """Make the records with the seal of the deployment's settings."""
        return cls(messaging, store, settings.record_key.get_secret_value() if settings.record_key else "")

    async def find(
        self, method: str, job_key: str, *, algorithm: str | None = None, distrusted: str = ""
    ) -> JobRecord | None:
        """Return the verified record of a finished job; None if it is unfinished or no record passes the checks.

        A record that lies at its path but was never named in the bucket (its worker died, or NATS was lost) becomes the
        result now. ``distrusted`` names a record (``responses.digest``) that does not count.
        """
        entry = await self._messaging.kv_get(topology.RESULTS, job_key)
        data = await self._lying(method, job_key) if entry is None else await self._named(entry, method, job_key)
        record = None if data is None else await self._verified(data, method, job_key, algorithm)
        if record is None or digest(record) == distrusted:
            return None
        return record if entry is not None else await self._decide(record, distrusted)

    async def commit(self, record: JobRecord, distrusted: str = "") -> JobRecord:
        """Make this the job's record unless a verified one exists; return the job's record."""
        if self._key:
            record.seal = self._seal(record)
        return await self._decide(record, distrusted)

    async def problem(self, record: JobRecord) -> str:
        """Say what is wrong with the stored result of a job that has this record, or return an empty string."""
        entry = await self._messaging.kv_get(topology.RESULTS, record.job_key)
        if entry is None:
            return "no winner is named in the bucket of results"
        stored = await self._store_named(entry)
        if stored is None or _parsed(stored) != record:
            return "the bucket of results names another record, or one that is lost or damaged"
        path = jobkeys.record_key(record.method, record.job_key)
        if await self._read(path) != stored:
            return f"{path} is not the record that was committed"
        return await self._fault(record, record.method, record.job_key, record.algorithm)

    async def _decide(self, record: JobRecord, distrusted: str) -> JobRecord:
        data = to_json(record)
        ref = await self._store.put_content(data, _MEDIA_TYPE)
        failpoints.reached("content")
        path = jobkeys.record_key(record.method, record.job_key)
        if await self._store.exists(path) is None:
            await self._store.put(path, data, _MEDIA_TYPE)
        failpoints.reached("record")
        try:
            await self._messaging.kv_create(topology.RESULTS, record.job_key, _spell(ref))
            winner, final = record, data
        except Conflict:
            winner, final = await self._adopt(record, data, ref, distrusted)
        failpoints.reached("result")
        # Two workers may have written the path at once, or something unreadable was there: the winner's record is
        # written last.
        if await self._read(path) != final:
            await self._store.put(path, final, _MEDIA_TYPE)
        return winner

    async def _adopt(self, mine: JobRecord, bytes_: bytes, ref: ObjectRef, distrusted: str) -> tuple[JobRecord, bytes]:
        """Take the winner's record and its bytes, or replace it where it fails the checks.

        Another implementation may spell the same record otherwise, so the winner's bytes stay as they are.
        """
        entry = await self._messaging.kv_get(topology.RESULTS, mine.job_key)
        if entry is None:
            raise Conflict(f"job {mine.job_key}: its result changed while it was written; trying again")
        data = await self._named(entry, mine.method, mine.job_key)
        winner = None if data is None else await self._verified(data, mine.method, mine.job_key, mine.algorithm)
        if data is None or winner is None or digest(winner) == distrusted:
            await self._messaging.kv_update(topology.RESULTS, mine.job_key, _spell(ref), entry.revision)
            return mine, bytes_
        return winner, data

    async def _named(self, entry: BucketEntry, method: str, job_key: str) -> bytes | None:
        """Return the bytes of the record that the bucket names, from its path if the copy by content is lost."""
        data = await self._store_named(entry)
        if data is not None:
            return data
        data = await self._read(jobkeys.record_key(method, job_key))
        if data is not None and _names(entry, data):
            await self._store.put_content(data, _MEDIA_TYPE)
            return data
        _absent(method, job_key, "the record that the bucket names is lost or damaged")
        return None

    async def _store_named(self, entry: BucketEntry) -> bytes | None:
        try:
            fields = json.loads(entry.value)
            ref = ObjectRef(**fields, bucket=self._store.bucket, media_type=_MEDIA_TYPE)
            return await self._store.get(ref)
        except (ValueError, TypeError, BadInput, CorruptObject):
            return None

    async def _lying(self, method: str, job_key: str) -> bytes | None:
        """Return the bytes of the record at the job's path, if they are those of a committed record."""
        data = await self._read(jobkeys.record_key(method, job_key))
        if data is None:
            return None
        copy = objects.make_ref(self._store.bucket, "cas", data, _MEDIA_TYPE)
        copy.key = objects.content_key(copy.sha256)
        try:
            await self._store.get(copy)
        except CorruptObject:
            _absent(method, job_key, "it was altered since it was committed")
            return None
        return data

    async def _read(self, path: str) -> bytes | None:
        try:
            return await self._store.read_key(path, _MAX_BYTES)
        except BadInput:
            return None

    async def _verified(self, data: bytes, method: str, job_key: str, algorithm: str | None) -> JobRecord | None:
        record = _parsed(data)
        if record is None:
            _absent(method, job_key, "it is not a job record")
            return None
        fault = await self._fault(record, method, job_key, algorithm)
        if fault:
            _absent(method, job_key, fault)
            return None
        return record

    async def _fault(self, record: JobRecord, method: str, job_key: str, algorithm: str | None) -> str:
        if (record.job_key, record.method) != (job_key, method):
            return f"it is the record of {record.method[:80]} {record.job_key[:80]}"
        if algorithm is not None and record.algorithm != algorithm:
            return f"it was made by algorithm {record.algorithm[:80]}, not {algorithm}"
        if self._key and not hmac.compare_digest(record.seal, self._seal(record)):
            return "its seal does not fit TESSERA_RECORD_KEY"
        response = response_of(record.method, record.response)
        if response is None:
            return "its response cannot be decoded"
        for ref in references(response):
            if fault := await self._missing(ref):
                return fault
        return ""

    async def _missing(self, ref: ObjectRef) -> str:
        try:
            found = await self._store.exists(ref.key)
        except BadInput as error:
            return str(error)
        if found is None:
            return f"object {ref.key} is lost"
        if (found.size, found.sha256) != (ref.size, ref.sha256):
            return f"object {ref.key} is damaged"
        return ""

    def _seal(self, record: JobRecord) -> bytes:
        bare = JobRecord()
        bare.CopyFrom(record)
        bare.ClearField("seal")
        return hmac.new(self._key, to_json(bare), hashlib.sha256).digest()


def to_json(record: JobRecord) -> bytes:
    """Return the protobuf JSON with sorted keys: equal records give equal bytes."""
    fields = json_format.MessageToDict(record, preserving_proto_field_name=True)
    return json.dumps(fields, sort_keys=True, indent=1).encode()


def _parsed(data: bytes) -> JobRecord | None:
    """Read a record in any spelling of protobuf JSON; None when it is none."""
    try:
        return json_format.Parse(data, JobRecord(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        return None


def _absent(method: str, job_key: str, why: str) -> None:
    _log.warning("a record counts as absent", extra={"method": method, "job_key": job_key, "why": why})


def _names(entry: BucketEntry, data: bytes) -> bool:
    try:
        return bool(json.loads(entry.value)["sha256"] == objects.sha256(data))
    except (ValueError, TypeError, KeyError):
        return False


def _spell(ref: ObjectRef) -> bytes:
    return json.dumps({"key": ref.key, "sha256": ref.sha256, "size": ref.size}, sort_keys=True).encode()
