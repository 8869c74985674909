"""What a page server tells: events of a run, and the form key of a session."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Told:
    """What the page server tells of a run by server-sent events, for as long as somebody listens."""

    client: httpx.AsyncClient
    run: str
    events: list[dict[str, Any]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async def listen() -> None:
            async with self.client.stream("GET", f"/runs/{self.run}/events", timeout=None) as stream:
                async for line in stream.aiter_lines():
                    if line.startswith("data: "):
                        self.events.append(json.loads(line[6:]))

        task = asyncio.create_task(listen())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 240.0) -> dict[str, Any]:
        """Wait for an event; return it."""
        seen, deadline = 0, time.monotonic() + seconds
        while True:
            for event in self.events[seen:]:
                seen += 1
                if condition(event):
                    return event
            assert time.monotonic() < deadline, self.events[-3:]
            await asyncio.sleep(0.02)


async def form_key(client: httpx.AsyncClient) -> str:
    """The form key of a session, from whichever page it may see."""
    page = (await client.get("/", follow_redirects=True)).text
    found = re.search(r'name="form-key" content="([^"]+)"', page)
    assert found is not None, page[:500]
    return found[1]
