"""``tessera gc``: show or remove objects that no run, resume or comparison can need."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import BadInput
from tessera.runtime.redaction import with_secret

if TYPE_CHECKING:
    from tessera.runtime.events import EventLog
    from tessera.runtime.gc import Garbage
    from tessera.runtime.objects import ObjectStore

DAY = 86_400.0
_SHOWN = 10


def lines(
    nats: str | None,
    store: str | None,
    out: Path | None,
    days: float,
    settle: float,
    delete: bool,
    forget: Iterable[str] = (),
) -> list[str]:
    """Look, or remove; ``forget`` names ended runs to be given up. Return the lines to print."""
    from tessera.cli.stack import reachable

    if not (0 <= days < float("inf") and 0 <= settle < float("inf")):
        raise BadInput(f"gc: --grace-days {days:g} and --settle-seconds {settle:g} must be numbers from 0; change them")
    url, place = nats or os.environ.get("TESSERA_NATS_URL"), store or os.environ.get("TESSERA_STORE")
    if nats is None and store is None and out is not None:
        with reachable(out) as facts:
            given = (with_secret(facts["nats"], url), facts["store"], facts.get("token"))
            return asyncio.run(_lines(*given, days, settle, delete, forget))
    if not url or not place:
        raise BadInput("gc: give --nats URL and --store URL of a deployment, or --out FOLDER of a run or stack")
    return asyncio.run(_lines(url, place, None, days, settle, delete, forget))


async def _lines(
    url: str, place: str, token: str | None, days: float, settle: float, delete: bool, forget: Iterable[str]
) -> list[str]:
    from tessera.runtime import store_size
    from tessera.runtime.events import EventLog
    from tessera.runtime.gc import Collector
    from tessera.runtime.messaging import connect
    from tessera.runtime.objects import open_store
    from tessera.runtime.settings import load

    messaging = await connect(url, name="tessera gc", token=token)
    try:
        opened = open_store(place, load(store=place))
        ends = {run: await _end(EventLog(messaging, opened), opened, run) for run in forget}
        collector = Collector(messaging, opened, days * DAY, ends)
        found = await collector.sweep(settle) if delete else await collector.look()
        if delete:
            await store_size.remember(opened, found.kept, found.kept_bytes)
    finally:
        await messaging.close()
    return _told(found, days, delete)


async def _end(log: EventLog, store: ObjectStore, run: str) -> int:
    """Return the sequence of the last event in the log of a run that has ended, 0 where NATS knows no log of it."""
    from tessera.loop.entry import RunEntry
    from tessera.pb.runs_pb2 import RUN_STATUS_RUNNING
    from tessera.runtime import archives, topology

    topology.run_token(run)
    entry = RunEntry(run)
    # Packed, as it is stored: whether a run has ended does not depend on the keys of its jobs.
    async for events in log.scan(run, packed=True):
        entry.take(events)
    if entry.sequence == 0 and not await store.list(archives.folder(run)):
        raise BadInput(f"run {run}: neither NATS nor the store knows it; see tessera status")
    if entry.sequence and entry.status == RUN_STATUS_RUNNING:
        raise BadInput(f"run {run}: has not ended; tessera cancel it before it is given up")
    return entry.log_sequence


def _told(found: Garbage, days: float, delete: bool) -> list[str]:
    gone = [*found.objects, *found.records, *found.answers]
    said = [f"{one.size:>14,} bytes  {one.key}" for one in sorted(gone, key=lambda one: -one.size)[:_SHOWN]]
    if len(gone) > _SHOWN:
        said.append(f"and {len(gone) - _SHOWN} more")
    runs = sorted({one.key.split("/")[1] for one in found.forgotten})
    if runs:
        said.append(f"{'given up' if delete else 'would be given up'}: {', '.join(runs)}")
    if found.rounds:
        what = f"answers of people to {len(found.rounds)} rounds of questions, whose runs are all given up"
        said.append(f"{'removed' if delete else 'unneeded'}: {what}")
    verb = "removed" if delete else "unneeded"
    said.append(
        f"{verb}: {len(found.objects)} objects, {len(found.records)} records and {len(found.entries)} results, "
        f"{found.bytes:,} bytes, none younger than {days:g} days; {found.kept} objects stay, {found.kept_bytes:,} bytes"
    )
    if not delete and (gone or found.entries or runs):
        said.append("nothing was removed; add --delete to remove it")
    return said
