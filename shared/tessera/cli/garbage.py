"""``tessera gc``: show or remove objects that no run, resume or comparison can need."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import BadInput
from tessera.runtime.redaction import with_secret

if TYPE_CHECKING:
    from tessera.runtime.gc import Garbage

DAY = 86_400.0
_SHOWN = 10


def lines(nats: str | None, store: str | None, out: Path | None, days: float, settle: float, delete: bool) -> list[str]:
    """Show or remove unneeded objects; return the lines to print."""
    from tessera.cli.stack import reachable

    if not (0 <= days < float("inf") and 0 <= settle < float("inf")):
        raise BadInput(f"gc: --grace-days {days:g} and --settle-seconds {settle:g} must be numbers from 0; change them")
    url, place = nats or os.environ.get("TESSERA_NATS_URL"), store or os.environ.get("TESSERA_STORE")
    if nats is None and store is None and out is not None:
        with reachable(out) as facts:
            given = (with_secret(facts["nats"], url), facts["store"], facts.get("token"))
            return asyncio.run(_lines(*given, days, settle, delete))
    if not url or not place:
        raise BadInput("gc: give --nats URL and --store URL of a deployment, or --out FOLDER of a run or stack")
    return asyncio.run(_lines(url, place, None, days, settle, delete))


async def _lines(url: str, place: str, token: str | None, days: float, settle: float, delete: bool) -> list[str]:
    from tessera.runtime.gc import Collector
    from tessera.runtime.messaging import connect
    from tessera.runtime.objects import open_store
    from tessera.runtime.settings import load

    messaging = await connect(url, name="tessera gc", token=token or os.environ.get("TESSERA_NATS_TOKEN"))
    try:
        collector = Collector(messaging, open_store(place, load(store=place)), days * DAY)
        found = await collector.sweep(settle) if delete else await collector.look()
    finally:
        await messaging.close()
    return _told(found, days, delete)


def _told(found: Garbage, days: float, delete: bool) -> list[str]:
    gone = [*found.objects, *found.records]
    said = [f"{one.size:>14,} bytes  {one.key}" for one in sorted(gone, key=lambda one: -one.size)[:_SHOWN]]
    if len(gone) > _SHOWN:
        said.append(f"and {len(gone) - _SHOWN} more")
    verb = "removed" if delete else "unneeded"
    said.append(
        f"{verb}: {len(found.objects)} objects, {len(found.records)} records and {len(found.entries)} results, "
        f"{found.bytes:,} bytes, none younger than {days:g} days; {found.kept} objects stay, {found.kept_bytes:,} bytes"
    )
    if not delete and (gone or found.entries):
        said.append("nothing was removed; add --delete to remove it")
    return said
