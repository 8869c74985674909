"""``tessera dlq``: jobs that ended without a result."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tessera.errors import BadInput
from tessera.runtime.redaction import one_line, with_secret

if TYPE_CHECKING:
    from tessera.runtime.dead_letters import DeadLetters

T = TypeVar("T")


def entries(nats: str | None, out: Path | None) -> list[str]:
    """Return one line per dead job, oldest first."""

    async def ask(letters: DeadLetters) -> list[str]:
        return [
            f"{letter.time:%Y-%m-%d %H:%M:%S}  {one_line(letter.failure.job_key)}  "
            f"{one_line(letter.failure.method):<10} {one_line(letter.failure.reason):<14} "
            f"{letter.failure.attempts} attempt{'' if letter.failure.attempts == 1 else 's'}  "
            f"{one_line(letter.failure.message)}"
            for letter in await letters.list()
        ] or ["no dead jobs"]

    return _with_letters(ask, nats, out)


def requeue(job_key: str, nats: str | None, out: Path | None) -> str:
    """Queue one dead job again, or all."""

    async def ask(letters: DeadLetters) -> str:
        queued = await letters.requeue(None if job_key == "all" else job_key)
        hint = f"; continue the run with: tessera resume {shlex.quote(str(out))}" if out is not None and queued else ""
        return f"{len(queued)} queued again{hint}"

    return _with_letters(ask, nats, out)


def _with_letters(ask: Callable[[DeadLetters], Awaitable[T]], nats: str | None, out: Path | None) -> T:
    """Use the given server, else that of the stack in ``out``, which is started for this when its run has ended."""
    from tessera.cli.stack import reachable

    given = nats or os.environ.get("TESSERA_NATS_URL")
    if nats is None and out is not None:
        with reachable(out) as facts:
            return asyncio.run(_connected(ask, with_secret(facts["nats"], given), facts.get("token")))
    if not given:
        raise BadInput("no NATS: give --nats URL, --out FOLDER of a run or stack, or set TESSERA_NATS_URL")
    return asyncio.run(_connected(ask, given, None))


async def _connected(ask: Callable[[DeadLetters], Awaitable[T]], url: str, token: str | None) -> T:
    from tessera.runtime.dead_letters import DeadLetters
    from tessera.runtime.messaging import connect

    messaging = await connect(url, name="tessera dlq", token=token)
    try:
        return await ask(DeadLetters(messaging))
    finally:
        await messaging.close()
