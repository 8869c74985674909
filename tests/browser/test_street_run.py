"""A robot answers a whole street run through the page from the truth: the ledger is that of the simulated run, but for
annotator and time, and so are selections and mIoU. Whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robot
from browser.pages import settled
from integration.loop import (
    RECIPE,
    TIMEOUT,
    end_started,
    member,
    repeated,
    start,
    tessera,
    until,
    write_recipe,
)
from services.dashboard.sign_in import Door
from tessera.cli import folder
from tessera.formats import images
from tessera.pb import questions_pb2 as pb
from tessera.regions import outlines

pytestmark = [pytest.mark.full]
HUMAN = {"name": "human", "undo_seconds": 0, "lease_seconds": 60}
FACTS = """() => {
  const { question: q, round: r } = tesseraPage.now;
  return q && { id: q.id, imageId: q.imageId, box: q.box, region: q.region, query: r.query, ignore: r.ignore,
    parameters: JSON.stringify(r.parameters), classes: r.classes,
    keys: tesseraPage.now.palette.map((c) => [c.index, c.key]) };
}"""


class Hands:
    """Somebody who sees the truth and answers with keys and mouse."""

    def __init__(self, page: Any, truth: dict[str, Any]) -> None:
        self.page, self.truth = page, truth
        self.answered: list[str] = []

    async def work(self, done: Any) -> None:
        """Answer what is shown until ``done``."""
        while not done():
            facts = None
            with contextlib.suppress(Exception):  # the page is being loaded again
                facts = await self.page.evaluate(FACTS)
            if not facts or facts["id"] in self.answered:
                await asyncio.sleep(0.05)
                continue
            await self.give(facts)
            self.answered.append(facts["id"])

    async def give(self, facts: dict[str, Any]) -> None:
        y0, x0, y1, x1 = facts["box"]
        question = pb.PersonQuestion(image_id=facts["imageId"])
        question.box.y0, question.box.x0, question.box.y1, question.box.x1 = y0, x0, y1, x1
        question.region.counts.extend(facts["region"])
        round_ = pb.QuestionRound(ignore_index=facts["ignore"])
        round_.query.name, round_.query.parameters = facts["query"], facts["parameters"]
        for _ in facts["classes"]:
            round_.classes.add()
        said = robot.answer(question, round_, self.truth[facts["imageId"]])
        keys = dict(facts["keys"])
        if said.WhichOneof("content") == "classes":
            for one in said.classes.classes:
                await self.page.keyboard.press(keys[one])
            if facts["query"] != "dominant":
                await self.page.keyboard.press("Enter")
            return
        flat = np.repeat(list(said.raster.values), list(said.raster.lengths))
        await self.draw(flat.reshape(y1 - y0, x1 - x0), (y0, x0), keys)
        await self.page.keyboard.press("Enter")
        # What the truth leaves undefined stays open, which asks for a second Enter.
        if "no class" in await self.page.inner_text("#say"):
            await self.page.keyboard.press("Enter")

    async def draw(self, labels: Any, corner: tuple[int, int], keys: dict[int, str]) -> None:
        """Draw every component as a polygon along the edges of its pixels; the larger ones first, for their holes."""
        loops = []
        values, regions = np.unique(labels, return_inverse=True)
        for region, polygons in outlines(regions.reshape(labels.shape).astype(np.int32)).items():
            for polygon in polygons:
                x, y = polygon[:, 0].astype(float), polygon[:, 1].astype(float)
                area = float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
                if area > 0 and int(values[region]) in keys and values[region] != 255:  # holes turn the other way
                    loops.append((area, int(values[region]), polygon))
        box = await self.page.evaluate(
            "() => { const r = tesseraPage.view.canvas.getBoundingClientRect(); return [r.left, r.top]; }"
        )
        scale, left, top = await self.page.evaluate(
            "() => [tesseraPage.view.scale, tesseraPage.view.left, tesseraPage.view.top]"
        )
        assert scale > 4, "too small to click on the corners of pixels"
        for _, value, polygon in sorted(loops, key=lambda one: -one[0]):
            await self.page.keyboard.press(keys[value])
            for x, y in (polygon + np.array(corner)[::-1]).tolist():
                await self.page.mouse.click(box[0] + (x - left) * scale, box[1] + (y - top) * scale)
            await self.page.keyboard.press("Enter")


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


async def people_run(
    browser: Any, out: Path, recipe: Path, data: Path, names: tuple[str, ...], kill: str = ""
) -> list[Hands]:
    """Run a recipe of a human oracle while ``names`` answer on the page; ``kill`` a process in the middle."""
    # People need no truth: the pool that they see has no labels.
    bare = out.parent / "bare" / data.name
    shutil.copytree(data, bare)
    shutil.rmtree(bare / "labels" / "train")
    labels = data / "labels" / "train"
    truth = {path.stem: images.decode_labels(path.read_bytes(), path.name) for path in labels.iterdir()}
    log = out.parent / f"{out.name}.log"
    process = start("run", recipe, "--data", bare, "--out", out, "--seed", 5, log=log)

    def gone() -> bool:
        return process.poll() is not None

    facts = out / "stack" / "dashboard.json"
    await asyncio.to_thread(until, lambda: gone() or facts.exists(), TIMEOUT, "the dashboard's facts")
    assert not gone(), log.read_text()
    told = json.loads(facts.read_bytes())
    await asyncio.to_thread(until, lambda: gone() or listens(told["port"]), TIMEOUT, "the dashboard")
    record = folder.read(out)
    assert record is not None
    spec = record.message()
    assert spec is not None
    base, door = f"http://127.0.0.1:{told['port']}", Door(told["token"])
    hands = []
    for name in names:
        page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
        await page.goto(f"{base}/sign-in#{door.invite(name, spec.run_id, 1)}")
        await page.wait_for_url("**/label")
        hands.append(Hands(page, truth))

    async def killer() -> None:
        while kill and not gone():
            if any(len(one.answered) >= 3 for one in hands):
                found = member(out, kill)
                if found is not None:
                    found.kill()
                    return
            await asyncio.sleep(0.02)

    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(killer(), *(one.work(gone) for one in hands))
    assert process.returncode == 0, log.read_text()[-3000:]
    assert "dashboard: http://127.0.0.1:" in log.read_text()
    return hands


@pytest.mark.parametrize(
    ("query", "names", "kill"),
    [("mask", ("ada",), ""), ("dominant", ("ada",), "host"), ("multi_class", ("ada", "bob"), "dashboard")],
)
async def test_people_on_the_page_repeat_the_simulated_run(
    browser: Any, tmp_path: Path, query: str, names: tuple[str, ...], kill: str
) -> None:
    changes = robot.QUERIES[query]
    simulated, people = tmp_path / "simulated", tmp_path / "people"
    data = tmp_path / "data" / "street"
    sizes = [f"{name}={value}" for name, value in RECIPE["dataset"]["parameters"].items() if name != "seed"]
    made = tessera("data", "make", "street", data, "--seed", 3, *[part for size in sizes for part in ("--set", size)])
    assert made.returncode == 0, made.stderr
    recipe = write_recipe(tmp_path / "a", **changes)
    done = tessera("run", recipe, "--data", data, "--out", simulated, "--seed", 5)
    assert done.returncode == 0, done.stderr
    recipe = write_recipe(tmp_path / "b", **changes, oracle=HUMAN)
    try:
        hands = await people_run(browser, people, recipe, data, names, kill)
    finally:
        end_started()
    told = repeated(people, simulated, query)
    assert set(told["annotator"]) == set(names)
    assert set(told["page_version"]) == {"tessera-page/1"}
    assert all(seconds > 0 for seconds in told["measured_seconds"])
    # Nobody answered what the other did, and every answer is there once.
    answered = [one for each in hands for one in each.answered]
    assert len(answered) == len(set(answered)) == len(told["region_id"])
    for each in hands:
        await settled(each.page)
