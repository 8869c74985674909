"""Find and remove objects that no run, resume or comparison can need.

Marking is conservative: any 64 hexadecimal digits in a needed object mark the object or the job of that name as needed.
The roots are the logs of all runs, in NATS and archived, waiting and failed jobs, everything that is neither
content-addressed nor a record (data sets), and everything younger than the grace time. Tables, manifests, records and
messages are searched for names; pictures and weights contain none.

Removal has two steps, because a worker may find an old record at any moment and give it to a new run. First, records
and entries of the ``results`` bucket are removed. After a pause everything is marked again, and an object is removed if
nothing named it either time and nobody has written it meanwhile.

A run that has ended can be given up: its log and its archive count for nothing then. Coordinators are told by a last
event; when the pause has passed, the log is deleted with that event. What the run alone needed goes as anything else
does, after its grace time.

Answers of people are paid work, and nothing makes them again: what they name is needed, whatever its age. The answers
of a round go only when every run that asked its questions is known and was given up, and nothing else names the round.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google.protobuf import json_format

from tessera.errors import BadInput, Conflict
from tessera.pb.jobs_pb2 import JobRecord
from tessera.pb.runs_pb2 import RunEvent, RunForgotten
from tessera.runtime import archives, checkpoints, topology
from tessera.runtime.events import EventLog
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.people import kept_rounds
from tessera.runtime.references import StoredObject

_HASH: Final = re.compile(rb"[0-9a-f]{64}")
_CONTENT: Final = re.compile(r"cas/sha256/([0-9a-f]{2})/([0-9a-f]{62})")
_RECORD: Final = re.compile(r"jobs/[A-Za-z0-9]+/([0-9a-f]{64})\.json")
_CHECKPOINT: Final = re.compile(rf"{checkpoints.PREFIX}([0-9a-f]{{64}})/.+")
_LEAVES: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")
_SNIFFED: Final = 16
_PARALLEL: Final = 16
_SLACK: Final = 1 << 20
_SOON: Final = 3600.0
_PROBE: Final = "check/gc"
_JOBS: Final = 1_000_000
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".safetensors")
_BUCKET: Final = f"KV_{topology.RESULTS}"


@dataclass
class Garbage:
    """Everything unneeded: objects with their sizes, records, and entries of the ``results`` bucket (key, sequence)."""

    objects: list[StoredObject] = field(default_factory=list)
    records: list[StoredObject] = field(default_factory=list)
    entries: list[tuple[str, int]] = field(default_factory=list)
    # What the store holds under the names of runs that are given up: that they were submitted, and their archives.
    forgotten: list[StoredObject] = field(default_factory=list)
    # Of rounds whose runs are all given up: answers of people, and what tells of their rounds, which goes last.
    answers: list[StoredObject] = field(default_factory=list)
    rounds: list[str] = field(default_factory=list)
    kept: int = 0
    kept_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Size of objects and records together."""
        return sum(one.size for one in (*self.objects, *self.records, *self.answers))


def names_in(data: bytes) -> set[str]:
    """Return the hashes that occur in the bytes of an object; none for a picture or a file of tensors."""
    if is_leaf(data[:_SNIFFED]):
        return set()
    if data[:4] == b"PAR1":
        return _names_in_table(data)
    found = {match.decode() for match in _HASH.findall(data)}
    if b'"job_key"' in data:
        try:
            found |= {name.decode() for name in _HASH.findall(json_format.Parse(data, JobRecord()).response)}
        except json_format.ParseError:
            return found
    return found


def is_leaf(head: bytes) -> bool:
    """Return whether an object with this beginning holds no names: PNG, JPEG and other pictures, safetensors."""
    return head.startswith(_LEAVES) or (head[8:9] == b"{" and head[5:8] == b"\0\0\0")


def _names_in_table(data: bytes) -> set[str]:
    table = pq.ParquetFile(io.BytesIO(data))
    texts = [
        one.name for one in table.schema_arrow if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)
    ]
    found: set[str] = set()
    for batch in table.iter_batches(columns=texts):
        for column in batch.columns:
            for value in pc.unique(column).to_pylist():
                if value is not None and len(value) >= 64:
                    found.update(name.decode() for name in _HASH.findall(value.encode()))
    return found


async def reachable(roots: Iterable[str], names: Callable[[str], Awaitable[set[str]]]) -> set[str]:
    """Return every hash that can be reached from the roots; ``names`` gives those that one names."""
    seen = set(roots)
    todo = list(seen)
    while todo:
        some, todo = todo[:_PARALLEL], todo[_PARALLEL:]
        for found in await asyncio.gather(*(names(one) for one in some)):
            fresh = found - seen
            seen |= fresh
            todo.extend(fresh)
    return seen


class Collector:
    """Marks and sweeps one store and the NATS that goes with it."""

    def __init__(
        self, messaging: Messaging, store: ObjectStore, grace: float, forget: Mapping[str, int] | None = None
    ) -> None:
        """``grace``: seconds for which every object stays, needed or not.

        ``forget``: ended runs to be given up, and the sequence of the last event in each one's log, 0 for none.
        """
        self._forget = forget or {}
        self._messaging, self._store, self._grace = messaging, store, grace
        self._log = EventLog(messaging, store)
        self._known: dict[str, set[str]] = {}

    async def look(self) -> Garbage:
        """Return everything unneeded and delete nothing. BadInput when NATS has lost runs, whose needs are unknown."""
        before = await self._now() - self._grace
        # In this order, which is the reverse of that in which a result is stored, named and told.
        entries = await self._entries()
        kept = await self._store.kept("")
        await self._nothing_lost(kept)
        contents = {"".join(found.groups()): one for one in kept if (found := _CONTENT.fullmatch(one.key))}
        records = {found[1]: one for one in kept if (found := _RECORD.fullmatch(one.key))}
        forgotten = [one for one in kept if any(one.key.startswith(archives.folder(run)) for run in self._forget)]
        passed = {one.key for one in forgotten}
        kept = [one for one in kept if one.key not in passed]
        rounds = await kept_rounds.rounds(self._messaging, self._store, kept)
        named = {one.key.split("/")[1] for one in kept if one.key.startswith(archives.PREFIX)}
        alive = {*await self._log.run_ids(), *named} - {*self._forget}
        given_up = {one.key for one in rounds.values() if one.given_up(alive, before)}
        ways = [(found[1], one) for one in kept if (found := _CHECKPOINT.fullmatch(one.key))]
        known = {one.key for one in (*contents.values(), *records.values(), *(one for _, one in ways))}
        # Only where nobody knows who asked is every answer read for what it names.
        known |= {one.key for each in rounds.values() if each.runs for one in (*each.answers, *each.asked)}
        others = [one for one in kept if one.key not in known]
        roots = await self._roots()
        for one in others:
            roots |= await self._names(one)
        roots |= rounds.keys() - given_up
        roots |= {name for name, one in (*contents.items(), *records.items()) if one.modified >= before}

        async def names(name: str) -> set[str]:
            found: set[str] = set(entries[name][1]) if name in entries else set()
            found |= rounds[name].names if name in rounds else set()
            for place in (contents.get(name), records.get(name)):
                if place is not None:
                    found |= await self._names(place)
            return found

        needed = await reachable(roots, names)
        garbage = Garbage(forgotten=forgotten)
        garbage.objects = [one for name, one in contents.items() if name not in needed]
        # Useless once the job has its record, or when nothing names the job.
        garbage.objects += [one for job, one in ways if one.modified < before and (job in records or job not in needed)]
        garbage.rounds = sorted(given_up - needed)
        for key in garbage.rounds:
            garbage.answers += [*rounds[key].answers, *rounds[key].asked]
        garbage.records = [one for name, one in records.items() if name not in needed]
        garbage.entries = sorted((name, place) for name, (place, _) in entries.items() if name not in needed)
        dropped = {one.key for one in (*garbage.objects, *garbage.records, *garbage.answers)}
        garbage.kept = sum(one.key not in dropped for one in kept)
        garbage.kept_bytes = sum(one.size for one in kept if one.key not in dropped)
        return garbage

    async def sweep(self, settle: float) -> Garbage:
        """Remove everything unneeded, with a pause of ``settle`` seconds between the steps; return what was removed."""
        now = await self._now()
        before = now - self._grace
        # Before anything is removed: this refuses where the needed objects cannot be known.
        first, done = await self.look(), Garbage()
        await self._give_up()
        # In the other order, a starting coordinator would take the archive for a run that NATS has lost.
        done.forgotten = [one for one in first.forgotten if await self._store.delete(one.key, now + _SOON)]
        for name, place in first.entries:
            # Exactly the entry that was read, not one that replaced it.
            await self._messaging.purge(_BUCKET, f"$KV.{topology.RESULTS}.{name}", place + 1)
            done.entries.append((name, place))
        done.records = [one for one in first.records if await self._store.delete(one.key, before)]
        await asyncio.sleep(settle)
        end = await self._log.position() + 1
        for run in self._forget:
            for subject in (topology.log_subject(run), topology.result_subject(run)):
                await self._messaging.purge(topology.EVENTS, subject, end)
        again = await self.look()
        twice = {one.key for one in first.objects} & {one.key for one in again.objects}
        done.objects = [one for one in again.objects if one.key in twice and await self._store.delete(one.key, before)]
        done.rounds = [one for one in again.rounds if one in first.rounds]
        for key in done.rounds:
            await kept_rounds.forget(self._messaging, key)
        gone = {one.key for one in first.answers}
        done.answers = [one for one in again.answers if one.key in gone and await self._store.delete(one.key, before)]
        done.kept, done.kept_bytes = again.kept, again.kept_bytes
        return done

    async def _give_up(self) -> None:
        """Append to the logs of the runs that they are given up; BadInput for one that goes on meanwhile."""
        for run, last in self._forget.items():
            if last:
                try:
                    await self._log.append(run, RunEvent(forgotten=RunForgotten()), last)
                except Conflict:
                    raise BadInput(f"run {run}: it goes on meanwhile; it was not given up") from None

    async def _now(self) -> float:
        """Return the time by the store's own clock."""
        await self._store.put(_PROBE, b"now", "text/plain")
        (modified,) = [float(one.modified) for one in await self._store.kept(_PROBE) if one.key == _PROBE]
        return modified

    async def _nothing_lost(self, kept: list[StoredObject]) -> None:
        here, keys = set(await self._log.run_ids()), {one.key for one in kept}
        ends = "/spec.json"
        submitted = {key[len(archives.PREFIX) : -len(ends)] for key in keys if key.endswith(ends)}
        lost = sorted(
            run for run in submitted - set(self._forget) if archives.spec_key(run) in keys and run not in here
            and archives.pointer_key(run) not in keys
        )  # fmt: skip
        if lost or (not here and any(_RECORD.fullmatch(key) for key in keys) and not archives.runs_of(keys)):
            raise BadInput(
                f"gc: NATS at {self._messaging.url} does not know {', '.join(lost[:5]) or 'any run'}, which has "
                "results in the store; give the NATS server that belongs to this store. If it does, bring the runs "
                "back with tessera doctor --rebuild RUN, or add --forget RUN. Nothing was removed"
            )

    async def _roots(self) -> set[str]:
        """Return the names in the logs of all runs, archived or not, and in jobs that wait or failed."""
        found: set[str] = set()
        # Jobs are read without a consumer: a consumer of a work queue would be one more worker.
        for place in await self._messaging.sequences(topology.JOBS, "tessera.job.>", None, at_most=_JOBS):
            message = await self._messaging.get(topology.JOBS, place)
            found |= {name.decode() for name in _HASH.findall(message[1])} if message is not None else set()
        passed = {name(run) for run in self._forget for name in (topology.log_subject, topology.result_subject)}
        for stream, subjects in ((topology.DLQ, "tessera.dlq.>"), (topology.EVENTS, "tessera.event.>")):
            async for batch in self._messaging.batches(stream, subjects):
                for stored in batch:
                    if stream == topology.EVENTS and stored.subject in passed:
                        continue
                    found |= {name.decode() for name in _HASH.findall(stored.data)}
        return found

    async def _entries(self) -> dict[str, tuple[int, set[str]]]:
        """Return the entries of the ``results`` bucket by job key: sequence, and the hashes that it names."""
        found: dict[str, tuple[int, set[str]]] = {}
        async for batch in self._messaging.batches(_BUCKET, f"$KV.{topology.RESULTS}.>"):
            for message in batch:
                name = message.subject.rsplit(".", 1)[1]
                found[name] = message.sequence, {one.decode() for one in _HASH.findall(message.data)}
        return found

    async def _names(self, one: StoredObject) -> set[str]:
        """Return the names in one object; content-addressed ones are read once."""
        if one.key in self._known:
            return self._known[one.key]
        if one.key.endswith(_PICTURES) or is_leaf(await self._store.peek(one.key, _SNIFFED)):
            return set()
        # Not by its size alone: a file that is not content-addressed may have been written again, and longer.
        data = await self._store.read_key(one.key, 2 * one.size + _SLACK) or b""
        found = await asyncio.to_thread(names_in, data)
        if _CONTENT.fullmatch(one.key):
            self._known[one.key] = found
        return found
