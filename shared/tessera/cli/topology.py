"""``tessera topology``: make what services and scalers look for in NATS, before any service has started."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tessera.runtime.settings import Settings

_FIRST_SECONDS = 60.0


def make(nats: str | None) -> str:
    """Create missing streams, buckets and the consumers of every method; return one sentence.

    ``nats`` (default: TESSERA_NATS_URL) may still be starting: its first answer is waited for, 60 s. Other values come
    from the settings with which the services run (TESSERA_NATS_REPLICAS and others). BadInput names every difference.
    """
    from tessera.runtime import settings

    return asyncio.run(_make(settings.load(**({"nats_url": nats} if nats else {}))))


async def _make(chosen: Settings) -> str:
    from tessera.runtime import catalogue, messaging, topology

    verbs = [method.verb for _, method in catalogue.methods().values()]
    connection = await messaging.connect(
        chosen.nats_url, name="tessera topology", settings=chosen, first_seconds=_FIRST_SECONDS
    )
    try:
        await topology.ensure(connection, chosen, verbs)
    finally:
        await connection.close()
    streams = ", ".join(stream.name for stream in topology.streams(chosen))
    return f"{connection.url} has the streams {streams}, and consumers for {', '.join(sorted(verbs))}"
