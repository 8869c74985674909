"""``tessera dlq``: jobs that ended without a result."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.cli.doctor import stack_facts
from tessera.cli.output import printable
from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.runtime.messaging import Messaging


def entries(nats: str | None, out: Path | None) -> list[str]:
    """One line a dead job, oldest first."""

    async def ask() -> list[str]:
        from tessera.runtime.dead_letters import DeadLetters

        messaging = await _connect(nats, out)
        try:
            letters = await DeadLetters(messaging).list()
        finally:
            await messaging.close()
        return [
            f"{letter.time:%Y-%m-%d %H:%M:%S}  {letter.failure.job_key}  {letter.failure.method:<10} "
            f"{letter.failure.reason:<14} {letter.failure.attempts} attempts  "
            f"{printable(' '.join(letter.failure.message.split()))}"
            for letter in letters
        ] or ["no dead jobs"]

    return asyncio.run(ask())


def requeue(job_key: str, nats: str | None, out: Path | None) -> str:
    """Queue one dead job again, or all."""

    async def ask() -> str:
        from tessera.runtime.dead_letters import DeadLetters

        messaging = await _connect(nats, out)
        try:
            queued = await DeadLetters(messaging).requeue(None if job_key == "all" else job_key)
        finally:
            await messaging.close()
        return f"{len(queued)} queued again"

    return asyncio.run(ask())


async def _connect(nats: str | None, out: Path | None) -> Messaging:
    from tessera.runtime.messaging import connect

    facts = stack_facts(out)
    url = nats or facts.get("nats") or os.environ.get("TESSERA_NATS_URL")
    if not url:
        raise BadInput("no NATS: give --nats URL, --out FOLDER of a running stack, or set TESSERA_NATS_URL")
    return await connect(url, name="tessera dlq", token=facts.get("token") or os.environ.get("TESSERA_NATS_TOKEN"))
