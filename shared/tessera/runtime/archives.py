"""The log of a run that has ended, moved out of NATS into the store.

Segments of the log are stored under their content and read back. Then an event that names them is appended under the
sequence at which everything was read, so that a run which is resumed meanwhile stays as it is. Then NATS deletes the
archived events: first those of coordinators, then those of workers. A crash in between leaves the whole log, or an
archive and some events that it also holds; both read as the same run. ``runs/<run>/archive.json`` names the archive
once more, so that ended runs outlive the loss of NATS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from tessera.errors import BadInput, Conflict, CorruptObject
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.runs_pb2 import LoggedEvent, LogSegment, RunArchived, RunEvent
from tessera.runtime.envelopes import MEDIA_TYPE
from tessera.runtime.objects import ObjectStore

SEGMENT_BYTES: Final = 4 << 20
PREFIX: Final = "runs/"
_POINTER_BYTES: Final = 4 << 20
Events = list[tuple[int, RunEvent]]


def folder(run_id: str) -> str:
    """Where the store keeps what belongs to a run by name."""
    return f"{PREFIX}{run_id}/"


def pointer_key(run_id: str) -> str:
    """Return the key of the file that names a run's archive."""
    return f"{folder(run_id)}archive.json"


def spec_key(run_id: str) -> str:
    """Return the key of the spec of a submitted run; its presence keeps the run's objects from ``gc``."""
    return f"{folder(run_id)}spec.json"


async def write(store: ObjectStore, batches: AsyncIterator[Events]) -> RunArchived:
    """Store a log, packed as it was appended, and read it back; returns the archive without its picture.

    An archive that the log continues becomes a part of the new one. CorruptObject when the stored bytes differ from
    those given; Conflict when the log still holds events of its archive.
    """
    made = RunArchived()
    segment, size, begun = LogSegment(), 0, False
    async for batch in batches:
        for sequence, event in batch:
            begun = begun or event.HasField("submitted")
            made.through = max(made.through, sequence)
            if event.HasField("archived"):
                if begun:
                    raise Conflict("an earlier archive of this log was not finished; trying again")
                made.segments.extend(event.archived.segments)
                made.events += event.archived.events
                continue
            segment.events.append(LoggedEvent(sequence=sequence, event=event))
            made.events, size = made.events + 1, size + event.ByteSize()
        if size >= SEGMENT_BYTES:
            made.segments.append(await _put(store, segment))
            segment, size = LogSegment(), 0
    if segment.events:
        made.segments.append(await _put(store, segment))
    found = 0
    async for batch in read(store, made):
        found += len(batch)
    if found != made.events:
        raise CorruptObject(f"archive: {found} events were read back, {made.events} were written; nothing was deleted")
    return made


async def _put(store: ObjectStore, segment: LogSegment) -> ObjectRef:
    return await store.put_content(segment.SerializeToString(deterministic=True), MEDIA_TYPE)


async def read(store: ObjectStore, archive: RunArchived) -> AsyncIterator[Events]:
    """Yield every event of an archive, verified, a segment at a time."""
    for ref in archive.segments:
        try:
            segment = LogSegment.FromString(await store.get(ref))
        except DecodeError:
            raise CorruptObject(f"object {ref.key}: is not a part of a run's log") from None
        yield [(one.sequence, one.event) for one in segment.events]


async def remember(store: ObjectStore, run_id: str, archive: RunArchived) -> None:
    """Write the run's pointer file."""
    data = json_format.MessageToJson(archive, preserving_proto_field_name=True, sort_keys=True).encode()
    await store.put(pointer_key(run_id), data, "application/json")


async def remembered(store: ObjectStore, run_id: str) -> RunArchived | None:
    """Return the archive that the run's pointer file names, or None; CorruptObject when the file names none."""
    key = pointer_key(run_id)
    try:
        data = await store.read_key(key, _POINTER_BYTES)
        return None if data is None else json_format.Parse(data, RunArchived(), ignore_unknown_fields=True)
    except json_format.ParseError:
        raise CorruptObject(f"object {key}: is not the archive of a run") from None


def runs_of(keys: Iterable[str]) -> list[str]:
    """Return the runs that have a pointer file among the store's keys."""
    ends = "/archive.json"
    names = [key[len(PREFIX) : -len(ends)] for key in keys if key.startswith(PREFIX) and key.endswith(ends)]
    return sorted(name for name in names if "/" not in name)


def store_of(store: ObjectStore | None) -> ObjectStore:
    """Return the store that archives lie in."""
    if store is None:
        raise BadInput("a run's log is archived, and no store was given to read it from")
    return store
