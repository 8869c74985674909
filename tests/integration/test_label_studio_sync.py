"""Label Studio kept in step with open rounds: skips, corrections, an early end, calls at once, lost predictions."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import label_studio
from integration.desk import Bench, bench, serving
from tessera.cli.people import Pictures
from tessera.cli.people_sync import LookTimes, Uploads
from tessera.pb import questions_pb2 as pb
from tessera.runtime.people.client import QuestionsClient
from tessera.runtime.people.label_studio_api import LabelStudioApi
from tessera.runtime.people.label_studio_sync import CallBack, LabelStudioSync, Synced
from tessera.runtime.people.webhook import Webhook

pytestmark = [pytest.mark.full, pytest.mark.timeout(2400)]


@contextlib.asynccontextmanager
async def synced(
    studio: label_studio.Person, made: Bench, address: str, run: str, call: CallBack | None = None
) -> AsyncIterator[LabelStudioSync]:
    async with QuestionsClient(address) as client:
        api = LabelStudioApi(studio.url, studio.token)
        images_ = Uploads(api, Pictures(made.store, "upload", 1.0))
        yield LabelStudioSync(client, api, run, images_.address, 3, call)


class Desk:
    """Label Studio's API from a loop."""

    def __init__(self, studio: label_studio.Person) -> None:
        self.studio = studio

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(self.studio.call, method, path, body)

    async def project(self) -> int:
        found = (await self.call("GET", "/api/projects?page_size=100"))["results"]
        (project,) = [int(one["id"]) for one in found if "run run," in one["description"]]
        return project

    async def tasks(self, project: int) -> list[dict[str, Any]]:
        path = f"/api/tasks?project={project}&page=1&page_size=100&fields=all"
        return list((await self.call("GET", path))["tasks"])


def choice(name: str) -> list[dict[str, Any]]:
    return [{"type": "choices", "from_name": "answer", "to_name": "image", "value": {"choices": [name]}}]


async def test_skips_corrections_deletions_and_an_early_end(
    studio: label_studio.Person, nats_url: str, tmp_path: Path
) -> None:
    desk = Desk(studio)
    async with bench(nats_url, tmp_path) as made, serving(made) as address:
        await made.open(made.small.request("dominant", undo_seconds=600))
        async with synced(studio, made, address, "run") as sync:
            done = await sync.look(made.store)
            assert (done.asked, done.outcomes, done.removed) == (3, {}, 0)
            assert str(await sync.look(made.store)) == ""
            project = await desk.project()
            first, second, third = await desk.tasks(project)
            picture = first["data"]["image"]
            assert picture.startswith("/data/upload/")
            asked = [f"/api/tasks/{one['id']}/annotations/" for one in (first, second, third)]
            said = await desk.call("POST", asked[0], {"result": choice("class 1"), "lead_time": 4.0})
            await desk.call("POST", asked[1], {"result": [], "was_cancelled": True, "lead_time": 2.0})
            await desk.call("POST", asked[2], {"result": [], "lead_time": 1.0})
            done = await sync.look(made.store)
            assert (done.asked, done.outcomes) == (2, {"counted": 2})
            assert [one.reason.split(";")[0] for one in done.rejected] == ["no class is chosen"]
        # Another process goes on: nothing counts twice, and a change corrects.
        async with synced(studio, made, address, "run") as sync:
            done = await sync.look(made.store)
            assert (done.asked, done.outcomes) == (0, {})
            changed = {"result": choice("class 2"), "lead_time": 6.5}
            await desk.call("PATCH", f"/api/annotations/{said['id']}/", changed)
            assert (await sync.look(made.store)).outcomes == {"counted": 1}
            told = await made.progress()
            assert (told.answered, told.skipped, told.seconds) == (1, 1, 8.5)
            # The round is closed early: tasks that nobody has touched go, what was said stays.
            await made.calls.close(pb.CloseRoundRequest(run_id="run"))
            done = await sync.look(made.store)
            assert done.removed == 2
            left = await desk.tasks(project)
            assert sorted(one["id"] for one in left) == sorted(one["id"] for one in (first, second, third))
            response, answers = await made.result()
            assert (response.answered, response.skipped) == (1, 1)
            assert [list(one) for one in answers["classes"]] == [[2], []]
            await desk.call("DELETE", f"/api/projects/{project}")


async def test_the_webhook_brings_each_answer_at_once_and_once(
    studio: label_studio.Person, nats_url: str, tmp_path: Path
) -> None:
    """Label Studio is looked at every ten minutes, so what comes sooner came through its calls."""
    desk = Desk(studio)
    async with bench(nats_url, tmp_path) as made, serving(made) as address:
        await made.open(made.small.request("dominant", undo_seconds=600))

        async def told(sync: LabelStudioSync, times: LookTimes) -> Synced:
            async with asyncio.timeout(120):
                await times.pause()
            assert await times.due()
            done = await sync.look(made.store)
            times.looked()
            return done

        async with Webhook("127.0.0.1:0") as hook:
            back = CallBack(f"http://127.0.0.1:{hook.port}/told", hook.headers)
            async with synced(studio, made, address, "run", back) as sync:
                times = LookTimes(hook, sync, 600.0)
                assert await times.due()
                assert (await sync.look(made.store)).asked == 3
                times.looked()
                project = await desk.project()
                first, second, _ = await desk.tasks(project)
                assert not await times.due()
                asked = f"/api/tasks/{first['id']}/annotations/"
                said = await desk.call("POST", asked, {"result": choice("class 1"), "lead_time": 4.0})
                began = time.monotonic()
                assert (await told(sync, times)).outcomes == {"counted": 1}
                print(f"an answer came {time.monotonic() - began:.2f} s after Label Studio had stored it")
                # A call that comes again, or is forged, counts nothing.
                for headers, status in ((hook.headers, 204), ({"Authorization": "Bearer wrong"}, 401)):
                    assert await asyncio.to_thread(posted, back.url, dict(headers)) == status
                assert str(await told(sync, times)) == ""
                assert not await times.due()
                changed = {"result": choice("class 2"), "lead_time": 6.5}
                await desk.call("PATCH", f"/api/annotations/{said['id']}/", changed)
                assert (await told(sync, times)).outcomes == {"counted": 1}
                skipped = {"result": [], "was_cancelled": True, "lead_time": 2.0}
                await desk.call("POST", f"/api/tasks/{second['id']}/annotations/", skipped)
                assert (await told(sync, times)).outcomes == {"counted": 1}
                now = await made.progress()
                assert (now.answered, now.skipped) == (1, 1)
                # An annotation that is taken away wakes the sync, and the answer stays.
                await desk.call("DELETE", f"/api/annotations/{said['id']}/")
                await told(sync, times)
                now = await made.progress()
                assert (now.answered, now.skipped) == (1, 1)
                assert len(await desk.call("GET", f"/api/webhooks/?project={project}")) == 1
            # It was killed: the next one takes the webhook over, with an address and a secret of its own.
            other = CallBack(f"{back.url}/again", {"Authorization": "Bearer another"})
            async with synced(studio, made, address, "run", other) as sync:
                await sync.look(made.store)
                (kept,) = await desk.call("GET", f"/api/webhooks/?project={project}")
                assert (kept["url"], kept["headers"]) == (other.url, {**other.headers, "X-Tessera-Sync": "1"})
                await sync.close()
                assert await desk.call("GET", f"/api/webhooks/?project={project}") == []
        await made.calls.close(pb.CloseRoundRequest(run_id="run"))
        await desk.call("DELETE", f"/api/projects/{project}")


def posted(url: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, b"{}", headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def test_a_task_that_lost_its_prediction_gets_it_again(
    studio: label_studio.Person, nats_url: str, tmp_path: Path
) -> None:
    desk = Desk(studio)
    async with bench(nats_url, tmp_path) as made, serving(made) as address:
        await made.open(made.small.request("dominant", undo_seconds=600))
        async with synced(studio, made, address, "run") as sync:
            assert (await sync.look(made.store)).asked == 3
            project = await desk.project()
            before = await desk.tasks(project)
            # As Label Studio leaves a task where its data base was locked.
            bare = before[1]["data"]
            await desk.call("DELETE", f"/api/tasks/{before[1]['id']}")
            await desk.call("POST", f"/api/projects/{project}/import", [{"data": bare}])
            named = (await sync.look(made.store)).rejected
            after = {one["data"]["question"]: one for one in await desk.tasks(project)}
            assert len(after) == 3
            assert [one["total_predictions"] for one in after.values()] == [1, 1, 1]
            given, lost = before[1]["predictions"][0], after[bare["question"]]
            assert all(lost["predictions"][0][key] == given[key] for key in ("result", "score", "model_version"))
            assert str(await sync.look(made.store)) == ""
            # One that never keeps its prediction is named once, and stays.
            for _ in range(4):
                for one in (await desk.call("GET", f"/api/tasks/{lost['id']}"))["predictions"]:
                    await desk.call("DELETE", f"/api/predictions/{one['id']}")
                named += (await sync.look(made.store)).rejected
            assert [one.reason for one in named] == ["Label Studio keeps no prediction, so it shows no region"]
        await desk.call("DELETE", f"/api/projects/{project}")
