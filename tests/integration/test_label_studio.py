"""A robot answers a whole street run in a real Label Studio: the ledger is that of the simulated run, but for annotator
and time. It sees what Label Studio shows, region included, and paints over the region's border."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import label_studio
import robot
from guide import guided
from integration.loop import TIMEOUT, end_started, repeated, start, tessera, until, write_recipe
from integration.test_people import HUMAN, ready
from tessera.adapters.label_studio import rle
from tessera.cli import folder
from tessera.errors import TesseraError
from tessera.formats import images
from tessera.pb import questions_pb2 as pb
from tessera.queries.drawing import polygon
from tessera.queries.given import mask_to_runs
from tessera.runtime.people.client import QuestionsClient

pytestmark = [pytest.mark.full, pytest.mark.timeout(2400)]


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
