"""A robot answers a whole street run in a real Label Studio: the ledger is that of the simulated run, but for annotator
and time. It sees what Label Studio shows, region included, and paints over the region's border."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import label_studio
import robot
from guide import guided
from integration.desk import Bench, bench, serving
from integration.loop import TIMEOUT, end_started, repeated, start, tessera, until, write_recipe
from integration.test_people import HUMAN, ready
from tessera.adapters.label_studio import rle
from tessera.cli import folder
from tessera.cli.people import Pictures
from tessera.cli.people_sync import LookTimes, Uploads
from tessera.errors import TesseraError
from tessera.formats import images
from tessera.pb import questions_pb2 as pb
from tessera.queries.drawing import polygon
from tessera.queries.given import mask_to_runs
from tessera.runtime.people.client import QuestionsClient
from tessera.runtime.people.label_studio_api import LabelStudioApi
from tessera.runtime.people.label_studio_sync import CallBack, LabelStudioSync, Synced
from tessera.runtime.people.webhook import Webhook

pytestmark = [pytest.mark.full, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[label_studio.Person]:
    with label_studio.server(tmp_path_factory.mktemp("label_studio")) as person:
        yield person


class Hands:
    """Somebody who sees the truth and answers every task without an annotation, over Label Studio's API."""

    def __init__(self, studio: label_studio.Person, run: str, query: dict[str, Any], truth: dict[str, Any]) -> None:
        self.studio, self.run, self.query, self.truth = studio, run, query, truth
        self.answered: list[str] = []

    def project(self) -> dict[str, Any] | None:
        found = self.studio.call("GET", "/api/projects?page_size=100")["results"]
        return next((one for one in found if f"run {self.run}," in one["description"]), None)

    def once(self) -> None:
        project = self.project()
        if project is None:
            return
        asked = f"/api/tasks?project={project['id']}&page=1&page_size=100&fields=all"
        for task in self.studio.call("GET", asked)["tasks"]:
            # Label Studio makes the predictions of a task after the task.
            if task["predictions"] and not task["total_annotations"] and not task["cancelled_annotations"]:
                labels = project["parsed_label_config"]
                self.answer(task, labels)
                self.answered.append(task["data"]["question"])

    def answer(self, task: dict[str, Any], labels: dict[str, Any]) -> None:
        truth = self.truth[task["data"]["image_id"]]
        (prediction,) = task["predictions"]
        inside = np.zeros(truth.shape, np.bool_)
        height, width = truth.shape
        for one in prediction["result"]:
            if one["from_name"] == "region":
                corners = [
                    (round(x * width * 16 / 100), round(y * height * 16 / 100)) for x, y in one["value"]["points"]
                ]
                inside ^= polygon(corners, (0, 0, height, width))
        names = list(labels["answer" if "answer" in labels else "brush"]["labels"])
        if "answer" in labels:
            said = self.said(inside, truth, len(names) - 1)
            chosen = [names[one] if one < len(names) - 1 else names[-1] for one in said.classes.classes]
            results = [{"type": "choices", "from_name": "answer", "value": {"choices": chosen}}]
        else:
            # The truth of the whole image: what lies outside the region must not count.
            results = []
            for value in np.unique(truth).tolist():
                name = names[value] if value < len(names) - 1 else names[-1]
                drawn = {"format": "rle", "rle": rle.encode(truth == value), "brushlabels": [name]}
                results.append({"type": "brushlabels", "from_name": "brush", "value": drawn})
        whole = {"to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}
        made = [{"id": f"r{at}", **whole, **one} for at, one in enumerate(results)]
        kept = [one for one in prediction["result"] if one["from_name"] == "region"]
        body = {"result": [*kept, *made], "lead_time": 3.0}
        self.studio.call("POST", f"/api/tasks/{task['id']}/annotations/", body)

    def said(self, inside: Any, truth: Any, classes: int) -> pb.PersonAnswer:
        ys, xs = np.nonzero(inside)
        question = pb.PersonQuestion(image_id="image")
        box = question.box
        box.y0, box.x0, box.y1, box.x1 = int(ys.min()), int(xs.min()), int(ys.max()) + 1, int(xs.max()) + 1
        question.region.counts.extend(mask_to_runs(inside[box.y0 : box.y1, box.x0 : box.x1]))
        round_ = pb.QuestionRound(ignore_index=255)
        round_.query.name = self.query["name"]
        round_.query.parameters = json.dumps({name: one for name, one in self.query.items() if name != "name"})
        for _ in range(classes):
            round_.classes.add()
        return robot.answer(question, round_, truth)


def people_run(
    studio: label_studio.Person,
    out: Path,
    recipe: Path,
    data: Path,
    query: dict[str, Any],
    kills: int,
    command: list[str],
) -> Hands:
    """Run a recipe that asks people while a sync and the robot work; the sync is killed ``kills`` times."""
    bare = out.parent / "bare" / data.name
    shutil.copytree(data, bare)
    shutil.rmtree(bare / "labels" / "train")
    labels = data / "labels" / "train"
    truth = {path.stem: images.decode_labels(path.read_bytes(), path.name) for path in labels.iterdir()}
    log, syncs = out.parent / f"{out.name}.log", out.parent / "sync.log"
    process = start("run", recipe, "--data", bare, "--out", out, "--seed", 5, log=log)

    def gone() -> bool:
        return process.poll() is not None

    until(lambda: gone() or ready(out), TIMEOUT, "the run's spec")
    record = folder.read(out)
    assert record is not None, log.read_text()
    spec = record.message()
    assert spec is not None
    token = out.parent / "token"
    token.write_text(studio.token + "\n")

    def synced() -> subprocess.Popen[bytes]:
        replaced = {"RUN": spec.run_id, "http://127.0.0.1:8080": studio.url, "token": str(token)}
        replaced |= {"https://sync.example.com": "http://127.0.0.1:0/told", "127.0.0.1:8081": "127.0.0.1:0"}
        words = [replaced.get(word, word) for word in command[1:]]
        return start(*words, "--out", out, "--every", "0.5", "--count", "5", log=syncs)

    async def rounds() -> int:
        async with QuestionsClient(robot.coordinator_of(out)) as client:
            return len(await client.rounds(spec.run_id))

    def asks() -> bool:
        with contextlib.suppress(TesseraError):
            return gone() or asyncio.run(rounds()) > 0
        return False

    until(asks, TIMEOUT, "the first round")
    hands, sync = Hands(studio, spec.run_id, query, truth), synced()

    def worked() -> bool:
        nonlocal sync, kills
        hands.once()
        if kills and hands.answered:
            kills -= 1
            sync.kill()
            sync.wait()
            sync = synced()
        assert gone() or sync.poll() in (None, 0), syncs.read_text()
        return gone()

    until(worked, 4 * TIMEOUT, "the run")
    assert process.returncode == 0, log.read_text()[-3000:]
    assert studio.token not in syncs.read_text() + log.read_text()
    return hands


POLLING = guided("tessera people sync label-studio RUN --url", "docs/adapters.md")
CALLED = guided("tessera people sync label-studio RUN --webhook", "docs/adapters.md")


@pytest.mark.parametrize(
    ("query", "kills", "command"), [("mask", 1, POLLING), ("dominant", 0, POLLING), ("multi_class", 1, CALLED)]
)
def test_people_in_label_studio_repeat_the_simulated_run(
    studio: label_studio.Person, data: Path, tmp_path: Path, query: str, kills: int, command: list[str]
) -> None:
    changes = robot.QUERIES[query]
    simulated, people = tmp_path / "simulated", tmp_path / "people"
    done = tessera("run", write_recipe(tmp_path / "a", **changes), "--data", data, "--out", simulated, "--seed", 5)
    assert done.returncode == 0, done.stderr
    recipe = write_recipe(tmp_path / "b", **changes, oracle={**HUMAN, "lease_seconds": 60})
    try:
        hands = people_run(studio, people, recipe, data, changes.get("query", {"name": "mask"}), kills, command)
    finally:
        end_started()
    told = repeated(people, simulated, query)
    assert set(told["annotator"]) == {label_studio.USER}
    assert set(told["page_version"]) == {"label-studio/1"}
    assert np.allclose(told["measured_seconds"], 3.0)
    # One task per question, also over rounds and a killed sync, and one answer each.
    assert len(hands.answered) == len(set(hands.answered)) == len(told["region_id"])
    # Label Studio calls nobody who does not listen any more.
    assert studio.call("GET", "/api/webhooks/") == []


def test_brush_masks_are_those_of_label_studios_own_converter(studio: label_studio.Person) -> None:
    rng = np.random.default_rng(1)
    masks = [rng.random((7, 9)) < 0.4, np.zeros((3, 5), bool), np.ones((300, 200), bool), np.eye(16, dtype=bool)]
    ours = [{"shape": mask.shape, "rle": rle.encode(mask)} for mask in masks]
    code = (
        "import json, sys, numpy as np\n"
        "from label_studio_sdk.converter import brush\n"
        "made = []\n"
        "for one in json.load(sys.stdin):\n"
        "    image = brush.decode_rle(one['rle'], print_params=False).reshape([*one['shape'], 4])\n"
        "    mask = image[:, :, 3]\n"
        "    made.append({'mask': mask.tolist(), 'rle': brush.mask2rle(mask)})\n"
        "json.dump(made, sys.stdout)\n"
    )
    done = subprocess.run(
        [label_studio.environment(), "-c", code],
        input=json.dumps(ours),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for mask, theirs in zip(masks, json.loads(done.stdout), strict=True):
        assert np.array_equal(np.array(theirs["mask"]), mask * 255)
        assert np.array_equal(rle.decode(theirs["rle"], *mask.shape), mask)


@contextlib.asynccontextmanager
async def synced(
    studio: label_studio.Person, made: Bench, address: str, run: str, call: CallBack | None = None
) -> AsyncIterator[LabelStudioSync]:
    async with QuestionsClient(address) as client:
        api = LabelStudioApi(studio.url, studio.token)
        images_ = Uploads(api, Pictures(made.store, "upload", 1.0))
        yield LabelStudioSync(client, api, run, images_.address, 3, call)


async def test_skips_corrections_deletions_and_an_early_end(
    studio: label_studio.Person, nats_url: str, tmp_path: Path
) -> None:
    def call(method: str, path: str, body: Any = None) -> Any:
        return studio.call(method, path, body)

    async with bench(nats_url, tmp_path) as made, serving(made) as address:
        await made.open(made.small.request("dominant", undo_seconds=600))
        async with synced(studio, made, address, "run") as sync:
            done = await sync.look(made.store)
            assert (done.asked, done.outcomes, done.removed) == (3, {}, 0)
            assert str(await sync.look(made.store)) == ""
            (project,) = [
                one
                for one in (await asyncio.to_thread(call, "GET", "/api/projects?page_size=100"))["results"]
                if "run run," in one["description"]
            ]
            asked = f"/api/tasks?project={project['id']}&page=1&page_size=100&fields=all"
            first, second, third = (await asyncio.to_thread(call, "GET", asked))["tasks"]
            picture = first["data"]["image"]
            assert picture.startswith("/data/upload/")
            choice = {"type": "choices", "from_name": "answer", "to_name": "image", "value": {"choices": ["class 1"]}}
            said = await asyncio.to_thread(
                call, "POST", f"/api/tasks/{first['id']}/annotations/", {"result": [choice], "lead_time": 4.0}
            )
            await asyncio.to_thread(
                call,
                "POST",
                f"/api/tasks/{second['id']}/annotations/",
                {"result": [], "was_cancelled": True, "lead_time": 2.0},
            )
            await asyncio.to_thread(
                call, "POST", f"/api/tasks/{third['id']}/annotations/", {"result": [], "lead_time": 1.0}
            )
            done = await sync.look(made.store)
            assert (done.asked, done.outcomes) == (2, {"counted": 2})
            assert [one.reason.split(";")[0] for one in done.rejected] == ["no class is chosen"]
        # Another process goes on: nothing counts twice, and a change corrects.
        async with synced(studio, made, address, "run") as sync:
            done = await sync.look(made.store)
            assert (done.asked, done.outcomes) == (0, {})
            choice["value"] = {"choices": ["class 2"]}
            await asyncio.to_thread(
                call, "PATCH", f"/api/annotations/{said['id']}/", {"result": [choice], "lead_time": 6.5}
            )
            assert (await sync.look(made.store)).outcomes == {"counted": 1}
            told = await made.progress()
            assert (told.answered, told.skipped, told.seconds) == (1, 1, 8.5)
            # The round is closed early: tasks that nobody has touched go, what was said stays.
            await made.calls.close(pb.CloseRoundRequest(run_id="run"))
            done = await sync.look(made.store)
            assert done.removed == 2
            left = (await asyncio.to_thread(call, "GET", asked))["tasks"]
            assert sorted(one["id"] for one in left) == sorted(one["id"] for one in (first, second, third))
            response, answers = await made.result()
            assert (response.answered, response.skipped) == (1, 1)
            assert [list(one) for one in answers["classes"]] == [[2], []]
            await asyncio.to_thread(call, "DELETE", f"/api/projects/{project['id']}")


class Desk:
    """Label Studio's API from a loop."""

    def __init__(self, studio: label_studio.Person) -> None:
        self.studio = studio

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(self.studio.call, method, path, body)

    async def project(self) -> int:
        found = (await self.call("GET", "/api/projects?page_size=100"))["results"]
        return next(int(one["id"]) for one in found if "run run," in one["description"])

    async def tasks(self, project: int) -> list[dict[str, Any]]:
        path = f"/api/tasks?project={project}&page=1&page_size=100&fields=all"
        return list((await self.call("GET", path))["tasks"])


def choice(name: str) -> list[dict[str, Any]]:
    return [{"type": "choices", "from_name": "answer", "to_name": "image", "value": {"choices": [name]}}]


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
