"""Store the job keys of a step that are too many for an event of the run's log.

A key takes 66 bytes, so 256 KiB hold 3,970. The event of a step of more than a thousand jobs names one object that
holds the keys; readers get the event with the keys filled in.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from tessera.errors import CorruptObject
from tessera.pb.runs_pb2 import JobKeys, RunEvent
from tessera.runtime.envelopes import MEDIA_TYPE
from tessera.runtime.objects import ObjectStore

INLINE_BYTES: Final = 64 << 10
"""Keys of an event up to this size stay in it."""


async def pack(event: RunEvent, store: ObjectStore | None) -> RunEvent:
    """Return an event that fits a message: itself, or one that names its keys in the store."""
    if store is None or not event.HasField("step_started") or event.ByteSize() <= INLINE_BYTES:
        return event
    started = event.step_started
    content = JobKeys(job_keys=started.job_keys).SerializeToString(deterministic=True)
    packed = RunEvent()
    packed.step_started.round, packed.step_started.step = started.round, started.step
    packed.step_started.job_keys_ref.CopyFrom(await store.put_content(content, MEDIA_TYPE))
    return packed


def is_packed(event: RunEvent) -> bool:
    """Return whether the event's keys lie in the store."""
    return event.HasField("step_started") and event.step_started.HasField("job_keys_ref")


async def unpack(event: RunEvent, store: ObjectStore | None) -> RunEvent:
    """Return the event with its keys in it. Unavailable and CorruptObject as the store raises them."""
    if store is None or not is_packed(event):
        return event
    ref = event.step_started.job_keys_ref
    try:
        keys = JobKeys.FromString(await store.get(ref))
    except DecodeError:
        raise CorruptObject(f"object {ref.key}: is not a list of job keys") from None
    whole = RunEvent()
    whole.CopyFrom(event)
    whole.step_started.ClearField("job_keys_ref")
    whole.step_started.job_keys.extend(keys.job_keys)
    return whole
