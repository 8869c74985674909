"""Carry requests in messages, and requests too large for a message in the store, where the message names them.

A request over the whole pool (select, train, answer, fit) names every shard, about 0.6 KB each: 64 KiB hold 107 of
them. The job key is made from the request itself, so it is the same either way.
"""

from __future__ import annotations

from typing import Final

from tessera.errors import BadInput
from tessera.pb.jobs_pb2 import JobEnvelope
from tessera.runtime.objects import ObjectStore

MEDIA_TYPE: Final = "application/x-protobuf"
_ROOM: Final = 512
"""Bytes of a message that headers may take."""


async def pack(envelope: JobEnvelope, store: ObjectStore | None, limit: int) -> JobEnvelope:
    """Return an envelope that fits a message of ``limit`` bytes: itself, or one that names its request in the store.

    Without a store the envelope stays as it is, and publishing it raises BadInput if it is too large.
    """
    if store is None or envelope.HasField("request_ref") or envelope.ByteSize() + _ROOM <= limit:
        return envelope
    ref = await store.put_content(envelope.request, MEDIA_TYPE)
    slim = JobEnvelope()
    slim.CopyFrom(envelope)
    slim.ClearField("request")
    slim.request_ref.CopyFrom(ref)
    return slim


async def request_of(envelope: JobEnvelope, store: ObjectStore, limit: int) -> bytes:
    """Return the serialized request that lies in the store; BadInput when it is larger than ``limit`` bytes.

    Unavailable and CorruptObject as the store raises them.
    """
    if envelope.request_ref.size > limit:
        raise BadInput(
            f"{envelope.method} job: its request has {envelope.request_ref.size} bytes, at most {limit} are read "
            "(TESSERA_REQUEST_BYTES); raise it, or runtime.shard_images"
        )
    return await store.get(envelope.request_ref)
