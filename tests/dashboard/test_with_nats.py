"""Pages over a real NATS: dead letters that are queued again, and links that are taken back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from dashboard.people import crowd
from dashboard.world import serving, small
from services.dashboard.links import Links
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure
from tessera.runtime import topology
from tessera.runtime.dead_letters import DeadLetters
from tessera.runtime.messaging import Messaging, connect
from tessera.runtime.settings import load

WAIT_SECONDS = 60.0


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Messaging]:
    messaging = await connect(url, name="pages")
    try:
        await topology.ensure(messaging, load(nats_url=url), ["train"])
        yield messaging
    finally:
        await messaging.close()


async def test_a_failed_job_is_queued_again_from_the_page(nats_url: str, tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with connected(nats_url) as messaging:
        letters = world.letters = DeadLetters(messaging)  # type: ignore[assignment]
        for number, reason in enumerate(("oom", "<b>crashed</b>")):
            key = f"{number:064x}"
            envelope = JobEnvelope(job_key=key, method="Train", run_id="meal-1", request=b"")
            failure = JobFailure(
                job_key=key, method="Train", reason=reason, message="died", attempts=3, envelope=envelope
            )
            await letters.add("train", failure, number)
        async with serving(world), world.client() as client:
            form = await world.signed_in(client)
            page = (await client.get("/workers")).text
            assert "oom" in page
            assert "&lt;b&gt;crashed" in page
            sent = await client.post("/workers/requeue", data={"form_key": form, "job_key": f"{0:064x}"})
            assert sent.status_code == 303
            assert [one.failure.reason for one in await letters.list()] == ["<b>crashed</b>"]
            unknown = await client.post("/workers/requeue", data={"form_key": form, "job_key": "f" * 64})
            assert unknown.status_code == 400
            await client.post("/workers/requeue", data={"form_key": form, "job_key": "all"})
            assert "No job has failed for good" in (await client.get("/workers")).text
        waiting = await messaging.sequences(topology.JOBS, "tessera.job.train", None, at_most=10)
        assert len(waiting) == 2


async def test_a_link_is_taken_back_at_once_everywhere_and_for_good(nats_url: str, tmp_path: Path) -> None:
    world = await small(tmp_path)
    await crowd(world, "dominant", 2)
    async with connected(nats_url) as messaging:
        world.links, other = Links(messaging), Links(messaging)
        following = asyncio.create_task(other.follow(await other.load()))
        try:
            async with serving(world), world.client() as operator, world.client() as ada, world.client() as bob:
                form = await world.signed_in(operator)
                tokens = {}
                for name in ("ada", "bob"):
                    made = await operator.post("/annotators", data={"form_key": form, "name": name, "days": "2"})
                    tokens[name] = made.text.split("/sign-in#")[1].split('"')[0]
                await world.signed_in(ada, tokens["ada"])
                await world.signed_in(bob, tokens["bob"])
                ids = {one.name: id_ for id_, one in world.links.valid()}
                assert sorted(ids) == ["ada", "bob"]
                assert (await ada.get("/api/rounds")).status_code == 200
                taken = await operator.post("/annotators/revoke", data={"form_key": form, "link": ids["ada"]})
                assert taken.status_code == 303
                # The session that the link opened ends with it, and the link opens no other; nobody else's does.
                assert (await ada.get("/api/rounds")).status_code == 401
                assert (await ada.post("/sign-in", data={"token": tokens["ada"]})).status_code == 401
                assert (await bob.get("/api/rounds")).status_code == 200
                shown = (await operator.get("/annotators")).text
                assert ids["ada"] not in shown
                assert ids["bob"] in shown
                wrong = await operator.post("/annotators/revoke", data={"form_key": form, "link": "nobody"})
                assert wrong.status_code == 400
                async with asyncio.timeout(WAIT_SECONDS):
                    while not other.is_revoked(ids["ada"]):
                        await asyncio.sleep(0.02)
        finally:
            following.cancel()
            await asyncio.wait([following], timeout=WAIT_SECONDS)
        again = Links(messaging)
        await again.load()
        assert again.is_revoked(ids["ada"])
        assert [one.name for _, one in again.valid()] == ["bob"]
