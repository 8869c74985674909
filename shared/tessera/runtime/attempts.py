"""Number of attempts at a job, in a bucket of ours: the server forgets its count when it restarts.

An outage is no attempt: an attempt that met one is subtracted again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tessera.errors import Conflict
from tessera.runtime import topology
from tessera.runtime.messaging import Messaging


@dataclass(frozen=True)
class Attempt:
    """This attempt's number (from 1) and the reasons why earlier ones ended ("" where the worker itself died)."""

    number: int
    earlier: tuple[str, ...]
    last_message: str


class Attempts:
    """Counts per job message: a job that is queued again starts at zero."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def begin(self, job_key: str, sequence: int) -> Attempt:
        """Count one more attempt, before it starts."""
        before = await self._change(
            f"{job_key}.{sequence}",
            lambda fields: {"message": "", **fields, "reasons": [*fields.get("reasons", []), ""]},
        )
        reasons: list[str] = before.get("reasons", [])
        return Attempt(len(reasons) + 1, tuple(reasons), str(before.get("message", "")))

    async def end(self, job_key: str, sequence: int, attempt: Attempt, reason: str, message: str) -> None:
        """Note why the attempt failed."""
        place = attempt.number - 1

        def change(fields: dict[str, Any]) -> dict[str, Any]:
            reasons = fields.get("reasons", [])
            return {**fields, "reasons": [*reasons[:place], reason, *reasons[place + 1 :]], "message": message[:1000]}

        await self._change(f"{job_key}.{sequence}", change)

    async def refund(self, job_key: str, sequence: int, attempt: Attempt) -> None:
        """Subtract an attempt whose worker had to leave, or that a server's outage ended."""
        place = attempt.number - 1

        def change(fields: dict[str, Any]) -> dict[str, Any]:
            reasons = fields.get("reasons", [])
            return {**fields, "reasons": [*reasons[:place], *reasons[place + 1 :]]}

        await self._change(f"{job_key}.{sequence}", change)

    async def count(self, job_key: str, sequence: int) -> int:
        """Return the attempts that were begun and not refunded."""
        entry = await self._messaging.kv_get(topology.ATTEMPTS, f"{job_key}.{sequence}")
        return len(json.loads(entry.value)["reasons"]) if entry is not None else 0

    async def swept(self, job_key: str) -> int:
        """Count a time that the job was found past its deliveries without an attempt; return that count."""
        fields = await self._change(f"{job_key}.swept", lambda fields: {"times": fields.get("times", 0) + 1})
        return int(fields.get("times", 0)) + 1

    async def passed(self, job_key: str, seconds: float) -> float:
        """Return for how long the job has been passed on to a worker of another version, and add ``seconds``.

        Adds up delays instead of reading clocks, because those of workers need not agree.
        """
        fields = await self._change(f"{job_key}.passed", lambda fields: {"waited": fields.get("waited", 0.0) + seconds})
        return float(fields.get("waited", 0.0))

    async def forget_passing(self, job_key: str) -> None:
        """Start that count anew."""
        await self._messaging.kv_delete(topology.ATTEMPTS, f"{job_key}.passed")

    async def _change(self, key: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Replace a value by ``change(value)``, whoever else writes; return the value before."""
        while True:
            entry = await self._messaging.kv_get(topology.ATTEMPTS, key)
            before: dict[str, Any] = json.loads(entry.value) if entry is not None else {}
            value = json.dumps(change(before)).encode()
            try:
                if entry is None:
                    await self._messaging.kv_create(topology.ATTEMPTS, key, value)
                else:
                    await self._messaging.kv_update(topology.ATTEMPTS, key, value, entry.revision)
            except Conflict:
                continue
            return before
