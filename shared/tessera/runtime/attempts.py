"""How often a job was tried, in our own bucket: the server forgets its count when it restarts."""

from __future__ import annotations

import json
from dataclasses import dataclass

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
    """Counts per job message: a job that is queued anew starts anew."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def begin(self, job_key: str, sequence: int) -> Attempt:
        """Count one more attempt, before it starts."""
        key = f"{job_key}.{sequence}"
        while True:
            entry = await self._messaging.kv_get(topology.ATTEMPTS, key)
            reasons: list[str] = json.loads(entry.value)["reasons"] if entry else []
            message: str = json.loads(entry.value)["message"] if entry else ""
            value = json.dumps({"reasons": [*reasons, ""], "message": message}).encode()
            try:
                if entry is None:
                    await self._messaging.kv_create(topology.ATTEMPTS, key, value)
                else:
                    await self._messaging.kv_update(topology.ATTEMPTS, key, value, entry.revision)
            except Conflict:
                continue
            return Attempt(len(reasons) + 1, tuple(reasons), message)

    async def end(self, job_key: str, sequence: int, attempt: Attempt, reason: str, message: str) -> None:
        """Note why the attempt failed."""
        value = json.dumps({"reasons": [*attempt.earlier, reason], "message": message[:1000]}).encode()
        await self._messaging.kv_put(topology.ATTEMPTS, f"{job_key}.{sequence}", value)

    async def refund(self, job_key: str, sequence: int, attempt: Attempt) -> None:
        """Do not count an attempt that was given back because its worker had to leave."""
        value = json.dumps({"reasons": list(attempt.earlier), "message": attempt.last_message}).encode()
        await self._messaging.kv_put(topology.ATTEMPTS, f"{job_key}.{sequence}", value)
