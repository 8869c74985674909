"""The object store in an S3 bucket, through the MinIO client; the only module that imports it.

Differences between S3 servers end here: keys are checked before any call, HEAD tests existence, the region is always
given, both of the client's exceptions are handled, and no conditional request is used.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import math
import random
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from tessera.errors import BadInput, CorruptObject, TesseraError, Unavailable
from tessera.formats.outside import is_outside
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime import references
from tessera.runtime.object_cache import ObjectCache
from tessera.runtime.outside import OutsideObjects
from tessera.runtime.settings import Settings

_T = TypeVar("_T")
_Keys = list[str]
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_STATUS: Final = re.compile(r"Response code: (\d+)")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchObject", "ResourceNotFound"})
_REFUSED: Final = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "ExpiredToken"}
)
_TRANSIENT: Final = frozenset(
    {"InternalError", "RequestTimeout", "RequestTimeTooSkewed", "ServiceUnavailable", "SlowDown", "TooManyRequests"}
)
_MOST_SKEW: Final = 240.0
"""Seconds. Servers refuse requests that were signed 5 to 15 minutes away from their own time, some as AccessDenied."""
_LONGEST_ADDRESS: Final = 604_800.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_BLOCK = 1 << 20
_PAGE: Final = 1000


class S3Store:
    """Objects under ``s3://bucket/prefix``; keys in references are relative to the prefix."""

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        if not _BUCKET.fullmatch(bucket):
            raise BadInput(f"store s3://{bucket}: {bucket!r} is not a bucket name")
        if not settings.s3_endpoint:
            raise BadInput("store: s3:// needs TESSERA_S3_ENDPOINT (host:port of the S3 server)")
        self.bucket = bucket
        self._prefix = f"{references.check_key(prefix)}/" if prefix else ""
        self._settings = settings
        self._outside = OutsideObjects(f"s3://{bucket}/{prefix}", settings, lambda name: S3Store(name, "", settings))
        self._cache = ObjectCache(settings.cache_dir / "objects", settings.cache_bytes, settings.cache_keep_seconds)
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=settings.s3_connect_timeout, read=settings.s3_read_timeout),
            maxsize=16,
            retries=False,  # retries are ours, below, which know the errors that another try may mend
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(settings.s3_ca) if settings.s3_ca else None,
        )
        try:
            self._client = Minio(
                endpoint=settings.s3_endpoint,
                access_key=settings.s3_access_key.get_secret_value(),
                secret_key=settings.s3_secret_key.get_secret_value(),
                secure=settings.s3_secure,
                region=settings.s3_region,
                http_client=self._http,
            )
        except ValueError as error:
            raise BadInput(f"store: TESSERA_S3_ENDPOINT {settings.s3_endpoint!r}: {error}; write host:port") from None

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        """Write the object whole or not at all; replace an earlier one."""
        references.check_key(key)
        if len(data) > self._settings.object_bytes:
            raise BadInput(f"object {key}: {len(data)} bytes are more than TESSERA_OBJECT_BYTES allows")
        ref = await asyncio.to_thread(references.make_ref, self.bucket, key, data, media_type)
        if not await self._call(key, lambda: self._put(ref, data)):
            raise BadInput(f"object {key}: {self._settings.s3_endpoint} has no place for it; check the bucket's name")
        return ref

    async def put_content(self, data: bytes, media_type: str) -> ObjectRef:
        """Write under the content-addressed key, even if it exists: that repairs an object damaged at rest."""
        digest = await asyncio.to_thread(references.sha256, data)
        return await self.put(references.content_key(digest), data, media_type)

    async def get(self, ref: ObjectRef) -> bytes:
        """Return the bytes of the reference, size and sha256 verified; CorruptObject names the key."""
        if is_outside(ref):
            return await self._outside.get(ref)
        references.check_ref(ref, self.bucket, self._settings.object_bytes)
        # A wrong body is read once more: it may have been damaged in transit.
        for last in (False, True):
            data = await self._call(ref.key, lambda: self._read(ref.key, ref.size))
            if data is None:
                raise references.missing(ref)
            try:
                return await asyncio.to_thread(references.verify, ref, data)
            except CorruptObject:
                if last:
                    raise
        raise AssertionError("unreachable")

    async def path(self, ref: ObjectRef) -> Path:
        """Return the path of a verified local copy."""
        if is_outside(ref):
            return await self._outside.path(ref)
        references.check_ref(ref, self.bucket, self._settings.object_bytes)
        found = await asyncio.to_thread(self._cache.find, ref)
        if found is None:
            found = await asyncio.to_thread(self._cache.add, ref, await self.get(ref))
        return found

    async def exists(self, key: str) -> ObjectRef | None:
        """Return the reference of the object under the key, or None; reads its bytes if the server has no metadata."""
        references.check_key(key)
        status = await self._call(key, lambda: self._stat(key))
        if status is None:
            return None
        digest = (status.metadata or {}).get("x-amz-meta-sha256", "")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            data = await self.read_key(key, self._settings.object_bytes)
            return None if data is None else references.make_ref(self.bucket, key, data, status.content_type or "")
        return ObjectRef(
            bucket=self.bucket, key=key, sha256=digest, size=status.size, media_type=status.content_type or ""
        )

    async def read_key(self, key: str, max_bytes: int) -> bytes | None:
        """Return the bytes under the key, or None; BadInput beyond ``max_bytes``."""
        references.check_key(key)
        data = await self._call(key, lambda: self._read(key, max_bytes))
        if data is not None and len(data) > max_bytes:
            raise BadInput(f"object {key}: is larger than {max_bytes} bytes")
        return data

    async def read_keys(self, keys: Sequence[str], max_bytes: int) -> references.Bodies:
        """Read a few objects at the same time, each on a connection of its own."""
        return await asyncio.gather(*(self.read_key(key, max_bytes) for key in keys))

    @property
    def cache(self) -> ObjectCache:
        """Return the local copies of objects."""
        return self._cache

    async def fetch(self, key: str, most: int) -> bytes | None:
        """Return at most ``most`` + 1 bytes of an object that is not ours, by any key; None: there is none."""
        return await self._call(key, lambda: self._read(key, most))

    async def pages(self, prefix: str) -> AsyncIterator[list[references.Seen]]:
        """Yield the objects of others whose keys begin with the prefix, in the server's order, a thousand at a time."""
        listing = _Listing(self._client, self.bucket, self._prefix + prefix)
        while page := await self._call(prefix, listing.page):
            yield page

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with the prefix, sorted."""
        references.check_prefix(prefix)
        return await self._call(prefix, lambda: self._list(prefix)) or []

    async def kept(self, prefix: str) -> references.Listed:
        """Return size and time of the objects whose keys begin with the prefix, sorted."""
        references.check_prefix(prefix)
        return await self._call(prefix, lambda: self._kept(prefix)) or []

    async def peek(self, key: str, count: int) -> bytes:
        """Return the first ``count`` bytes under the key; empty when there is nothing."""
        references.check_key(key)
        return (await self._call(key, lambda: self._read(key, count)) or b"")[:count]

    def address(self, ref: ObjectRef, seconds: float) -> str:
        """Return an address under which everybody reads the object for so many seconds, at most 7 days; asks nobody.

        BadInput: an object of another bucket.
        """
        if ref.bucket != self.bucket:
            raise BadInput(f"object {ref.key}: is in bucket {ref.bucket}, not in {self.bucket}; no address is signed")
        span = timedelta(seconds=min(max(seconds, 1.0), _LONGEST_ADDRESS))
        name = self._prefix + references.check_key(ref.key)
        return str(self._client.presigned_get_object(bucket_name=self.bucket, object_name=name, expires=span))

    async def delete(self, key: str, before: float) -> bool:
        """Remove the object under the key if it was last written before a time; return whether it was removed."""
        references.check_key(key)
        status = await self._call(key, lambda: self._stat(key))
        if status is None or status.last_modified is None or status.last_modified.timestamp() >= before:
            return False
        return await self._call(key, lambda: self._delete(key)) or False

    async def check(self) -> str:
        """Write and read a probe; say where the store is."""
        ref = await self.put("check/probe", uuid.uuid4().bytes, "application/octet-stream")
        await self.get(ref)
        scheme = "https" if self._settings.s3_secure else "http"
        return f"bucket {self.bucket} at {scheme}://{self._settings.s3_endpoint}, prefix {self._prefix or 'none'}"

    async def _call(self, key: str, call: Callable[[], _T]) -> _T | None:
        """Run a blocking call in a thread, with jittered retries while they may help; None: no such object."""
        pause = _FIRST_PAUSE
        for attempt in range(1, self._settings.s3_attempts + 1):
            try:
                return await asyncio.to_thread(call)
            except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
                skew = await asyncio.to_thread(self._skew) if _is_refusal(*_code(error)) else 0.0
                failure = self._failure(key, error, skew)
            if failure is None:
                return None
            if not failure.transient or attempt == self._settings.s3_attempts:
                raise failure
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("unreachable")

    def _put(self, ref: ObjectRef, data: bytes) -> bool:
        self._client.put_object(
            bucket_name=self.bucket,
            object_name=self._prefix + ref.key,
            data=io.BytesIO(data),
            length=len(data),
            content_type=ref.media_type or "application/octet-stream",
            metadata={"sha256": ref.sha256},
            part_size=self._settings.s3_part_bytes,
        )
        return True

    def _read(self, key: str, max_bytes: int) -> bytes:
        """Read at most one byte more than ``max_bytes``; a body that ends early raises."""
        response = self._client.get_object(bucket_name=self.bucket, object_name=self._prefix + key)
        try:
            data = bytearray()
            while len(data) <= max_bytes:
                block = response.read(min(_BLOCK, max_bytes + 1 - len(data)))
                if not block:
                    break
                data += block
            return bytes(data)
        finally:
            response.close()
            response.release_conn()

    def _stat(self, key: str) -> Any:
        return self._client.stat_object(bucket_name=self.bucket, object_name=self._prefix + key)

    def _list(self, prefix: str) -> _Keys:
        return [one.key for one in self._kept(prefix)]

    def _kept(self, prefix: str) -> references.Listed:
        listed = self._client.list_objects(bucket_name=self.bucket, prefix=self._prefix + prefix, recursive=True)
        found = {}
        # By key: rclone lists a key twice after several wrote it at once [measured].
        for item in listed:
            if not item.is_dir and item.object_name is not None:
                modified = item.last_modified.timestamp() if item.last_modified else math.inf
                key = item.object_name.removeprefix(self._prefix)
                found[key] = references.StoredObject(key, item.size or 0, modified)
        return [found[key] for key in sorted(found)]

    def _delete(self, key: str) -> bool:
        self._client.remove_object(bucket_name=self.bucket, object_name=self._prefix + key)
        return True

    def _skew(self) -> float:
        """Return by how many seconds this machine's clock is ahead of the server's; 0 if the server does not say."""
        scheme = "https" if self._settings.s3_secure else "http"
        try:
            answer = self._http.request("HEAD", f"{scheme}://{self._settings.s3_endpoint}/")
            return time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (urllib3.exceptions.HTTPError, OSError, KeyError, ValueError):
            return 0.0

    def _failure(self, key: str, error: Exception, skew: float = 0.0) -> TesseraError | None:
        """Name a failed call, ``skew`` seconds being what a refusal may come from; None: there is no such object."""
        where = f"object s3://{self.bucket}/{self._prefix}{key}"
        endpoint = self._settings.s3_endpoint
        code, status = _code(error)
        if code in _MISSING or (code == "" and status == 404):
            return None
        if code == "NoSuchBucket":
            return BadInput(f"{where}: there is no bucket {self.bucket!r} at {endpoint}; create it")
        if abs(skew) > _MOST_SKEW:
            return Unavailable(
                f"{where}: the clock of this machine is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that "
                f"of {endpoint}, which refuses its requests; set it right (NTP)"
            )
        if _is_refusal(code, status) and code not in _TRANSIENT:
            return BadInput(f"{where}: {endpoint} refused the credentials ({code or status}); check TESSERA_S3_*")
        if code in _TRANSIENT or status >= 500 or status in (408, 429) or not (code or status):
            return Unavailable(f"{where}: {endpoint} does not answer as it should ({code or _cause(error)})")
        return BadInput(f"{where}: {endpoint} refused the request ({code or status})")


class _Listing:
    """A listing that goes on after a failed call."""

    def __init__(self, client: Minio, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix
        self._objects: Iterator[Any] | None = None
        self._last = ""

    def page(self) -> list[references.Seen]:
        """Return the next objects, none at the end."""
        objects, last = self._objects, self._last
        if objects is None:
            objects = self._client.list_objects(
                bucket_name=self._bucket, prefix=self._prefix, recursive=True, start_after=last or None
            )
        # Only a page that was read whole counts: after a failure the listing begins anew behind the last one.
        self._objects = None
        found: list[references.Seen] = []
        while not found and (page := list(itertools.islice(objects, _PAGE))):
            for item in page:
                # A server may not know start_after.
                if not item.is_dir and item.object_name is not None and item.object_name > last:
                    found.append(references.Seen(item.object_name, item.size or 0, (item.etag or "").strip('"')))
                    last = item.object_name
        self._objects, self._last = objects, last
        return found


def _is_refusal(code: str, status: int) -> bool:
    return code in _REFUSED or status in (401, 403)


def _code(error: Exception) -> tuple[str, int]:
    """Return the S3 error code and HTTP status of a failure, empty and 0 where it has none."""
    if isinstance(error, S3Error):
        response = error.response
        return str(error.code or ""), int(getattr(response, "status", 0) or 0)
    if isinstance(error, ServerError):
        return "", int(error.status_code)
    if isinstance(error, InvalidResponseError):
        # Some servers answer errors with text/xml, which the client does not take for XML.
        text = str(error)
        code, status = _CODE.search(text), _STATUS.search(text)
        return (code[1] if code else ""), (int(status[1]) if status else 0)
    return "", 0


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
