"""Notices of rounds and ends: at a real HTTP server, on a real subject, once each as long as nothing dies."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from tessera.loop.view import view as picture
from tessera.pb.runs_pb2 import RUN_STATUS_RUNNING, RunView
from tessera.runtime import topology
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.notices import Notices
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load
from unit.loop.simulator import load as recipe
from unit.loop.simulator import spec_of, walk

SECRET = "a-secret-of-this-test"  # noqa: S105  # nobody else's


@dataclass
class Receiver:
    """What arrived; the first ``refuse`` calls are answered by 503."""

    address: str = ""
    refuse: int = 0
    heard: list[dict[str, Any]] = field(default_factory=list)
    signatures: list[tuple[str, bytes]] = field(default_factory=list)


@contextmanager
def receiver(refuse: int = 0) -> Iterator[Receiver]:
    made = Receiver(refuse=refuse)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if made.refuse:
                made.refuse -= 1
                self.send_response(503)
            else:
                made.heard.append(json.loads(body))
                made.signatures.append((self.headers.get("X-Tessera-Signature", ""), body))
                self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    made.address = f"http://127.0.0.1:{server.server_port}/tessera"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pictures() -> tuple[RunView, RunView]:
    """A run after its first round, and at its end."""
    end = picture(walk(spec_of(recipe("street_meal", budget__rounds=1))).state)
    begun = RunView()
    begun.CopyFrom(end)
    begun.status = RUN_STATUS_RUNNING
    begun.rounds[1].complete = False
    return begun, end


async def listener(messaging: Messaging, run_id: str, heard: list[dict[str, Any]]) -> asyncio.Task[None]:
    """Listen to a run's notices from now on; returns when the subscription is there."""
    subject, ready = topology.notice_subject(run_id), asyncio.Event()

    async def hear() -> None:
        async for _, data in messaging.listen(subject):
            if data == b"probe":
                ready.set()
            else:
                heard.append(json.loads(data))

    task = asyncio.create_task(hear())
    async with asyncio.timeout(30):
        while not ready.is_set():
            await messaging.tell(subject, b"probe")
            await asyncio.sleep(0.02)
    return task


async def test_rounds_and_ends_are_told_in_order(nats_url: str, tmp_path: Path) -> None:
    begun, end = pictures()
    with receiver() as made:
        settings = load(
            nats_url=nats_url, store=(tmp_path / "store").as_uri(), fsync=False, webhook=made.address,
            webhook_secret=SECRET,
        )  # fmt: skip
        messaging = await connect(nats_url, name="notices")
        try:
            store, told = open_store(settings.store, settings), list[dict[str, Any]]()

            listening = await listener(messaging, end.spec.run_id, told)
            notices = Notices(messaging, store, settings)
            await notices.look([begun])
            await notices.look([begun])
            await notices.look([end])
            # A coordinator that starts later knows what was told.
            await Notices(messaging, store, settings).look([end])
            async with asyncio.timeout(30):
                while len(told) < 3:
                    await asyncio.sleep(0.02)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        finally:
            await messaging.close()
    assert made.heard == told
    assert [(one["kind"], one.get("round"), one.get("status")) for one in told] == [
        ("round", 0, None), ("round", 1, None), ("end", None, "done"),
    ]  # fmt: skip
    assert told[1]["cost"]["clicks"] == end.rounds[1].cost.clicks
    assert 0 < told[0]["val"]["miou"] < 1
    assert len({one["id"] for one in told}) == 3
    for signature, body in made.signatures:
        assert signature == f"sha256={hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}"


async def test_a_receiver_that_is_away_is_told_later_and_in_order(
    nats_url: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tessera.runtime.notices._PAUSES", (0.01, 0.05))
    begun, end = pictures()
    with receiver(refuse=2) as made:
        settings = load(nats_url=nats_url, store=(tmp_path / "store").as_uri(), fsync=False, webhook=made.address)
        messaging = await connect(nats_url, name="notices")
        try:
            notices = Notices(messaging, open_store(settings.store, settings), settings)
            await notices.look([begun])
            assert made.heard == []
            await notices.look([end])
            async with asyncio.timeout(30):
                while len(made.heard) < 3:
                    await notices.look([])
                    await asyncio.sleep(0.02)
        finally:
            await messaging.close()
    assert [one.get("round", one.get("status")) for one in made.heard] == [0, 1, "done"]


async def test_runs_that_had_ended_before_are_not_told_of(nats_url: str, tmp_path: Path) -> None:
    _, end = pictures()
    with receiver() as made:
        settings = load(nats_url=nats_url, store=(tmp_path / "store").as_uri(), fsync=False, webhook=made.address)
        messaging = await connect(nats_url, name="notices")
        try:
            await Notices(messaging, open_store(settings.store, settings), settings).look([end])
        finally:
            await messaging.close()
    assert made.heard == []


async def test_without_a_webhook_listeners_hear_what_happens_now(nats_url: str, tmp_path: Path) -> None:
    begun, end = pictures()
    settings = load(nats_url=nats_url, store=(tmp_path / "store").as_uri(), fsync=False)
    messaging = await connect(nats_url, name="notices")
    try:
        heard = list[dict[str, Any]]()

        listening = await listener(messaging, end.spec.run_id, heard)
        store = open_store(settings.store, settings)
        notices = Notices(messaging, store, settings)
        # The coordinator starts in mid-run: the first round was told by an earlier one.
        await notices.look([begun])
        await notices.look([end])
        async with asyncio.timeout(30):
            while len(heard) < 2:
                await asyncio.sleep(0.02)
        assert [one.get("round", one.get("status")) for one in heard] == [1, "done"]
        assert await store.list("runs/") == []
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    finally:
        await messaging.close()
