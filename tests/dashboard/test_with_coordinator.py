"""Pages over a real NATS and a real coordinator: a run is listed, followed, cancelled and resumed.

Its workers compute nothing, so it takes a moment; ``browser/test_real_stack.py`` has real ones, and a browser.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from dashboard.told import Told, form_key
from dashboard.world import TOKEN, Letters
from integration.crowd import VERBS, Coordinator, Crowd
from services.dashboard.app import Dashboard
from services.dashboard.questions import Questions
from services.dashboard.run_data import RunData
from services.dashboard.server import listen, serve_app
from services.dashboard.sign_in import Door
from tessera.pb import runs_pb2 as pb
from tessera.runtime import messaging, topology
from tessera.runtime.objects import open_store
from tessera.runtime.rpc import Channel
from tessera.runtime.runs_client import RunsClient
from tessera.runtime.settings import load
from unit.loop import simulator

RUN = "run-1"


async def test_a_run_is_listed_followed_cancelled_and_resumed(nats_url: str, tmp_path: Path) -> None:
    settings = load(nats_url=nats_url, store=(tmp_path / "store").as_uri(), fsync=False)
    store, door = open_store(settings.store, settings), Door(TOKEN)
    environment = {"TESSERA_NATS_URL": nats_url, "TESSERA_STORE": settings.store, "TESSERA_FSYNC": "0"}
    coordinator = Coordinator(tmp_path, environment)
    connection = await messaging.connect(nats_url, name="pages")
    try:
        await topology.ensure(connection, settings, VERBS)
        address = await asyncio.to_thread(coordinator.start)
        data = RunData(RunsClient(address), store, Letters())  # type: ignore[arg-type]
        dashboard = Dashboard(door, data, Questions(Channel(address), store, door))
        listening, stop = listen("127.0.0.1", 0), asyncio.Event()
        base = "http://{}:{}".format(*listening.getsockname()[:2])
        serving = asyncio.create_task(serve_app(dashboard, listening, stop))
        crowd = Crowd(connection)
        try:
            async with crowd.working(), httpx.AsyncClient(base_url=base, timeout=60) as client:
                await client.post("/sign-in", data={"token": TOKEN})
                form = {"form_key": await form_key(client)}
                recipe = simulator.load("street_entropy", budget__rounds=1)
                spec = simulator.spec_of(recipe, train=100, val=32, test=32)
                async with RunsClient(address) as runs:
                    await runs.submit(spec)
                told = Told(client, RUN)
                async with told.listening():
                    await told.wait(lambda event: event.get("measured"))
                    crowd.going.clear()
                    page = (await client.get("/")).text
                    assert f'href="/runs/{RUN}"' in page
                    assert (await client.post(f"/runs/{RUN}/cancel")).status_code == 403
                    sent = await client.post(f"/runs/{RUN}/cancel", data=form)
                    assert sent.status_code == 303
                    ended = await told.wait(lambda event: event.get("state") in ("cancelled", "done"))
                    # The run may have been over before.
                    assert ended["measured"]["val"] == ended["measured"]["test"]
                    shown = (await client.get("/")).text
                    assert f"{ended['state']}</span>" in shown
                told.events.clear()
                async with told.listening():
                    # Whoever comes back is told of everything at once.
                    again = await told.wait(lambda event: "state" in event)
                    assert (again["state"], again["measured"]) == (ended["state"], ended["measured"])
                    assert (await client.post(f"/runs/{RUN}/resume", data=form)).status_code == 303
                    crowd.going.set()
                    done = await told.wait(lambda event: event.get("state") == "done")
                    assert done["measured"]["round"] == 1
                (view,) = await data.runs.list()
                assert view.status == pb.RUN_STATUS_DONE
        finally:
            stop.set()
            await serving
    finally:
        await asyncio.to_thread(coordinator.stop)
        await connection.close()
