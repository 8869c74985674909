"""The labelling page, used by keys, mouse and fingers: what it sends, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser.pages import NARROW, annotator, question, settled, until
from dashboard.people import KEY, Crowd, crowd
from dashboard.world import World, serving, small
from tessera.pb import questions_pb2 as pb

LOADED = "performance.getEntriesByType('resource').filter((one) => one.name.includes('/api/objects/')).length >= 12"
"""Image, prediction and superpixels of the question and of the three after it are there."""


async def world_of(folder: Path, query: str, count: int = 8) -> tuple[World, Crowd]:
    world = await small(folder)
    return world, await crowd(world, query, count)


async def click(page: Any, x: float, y: float) -> None:
    """Click a place of the image, in its pixels."""
    at = await page.evaluate(
        "([x, y]) => { const r = tesseraPage.view.canvas.getBoundingClientRect();"
        " const [a, b] = tesseraPage.screen(x, y); return [r.left + a, r.top + b]; }",
        [x, y],
    )
    await page.mouse.click(*at)


async def shown(page: Any, question_id: str) -> None:
    """Wait until the page shows this question."""
    await page.wait_for_selector(f'#label[data-question="{question_id}"]')


def raster(answer: pb.PersonAnswer, question: pb.PersonQuestion) -> Any:
    """The labels of an answer, over the box."""
    box = question.box
    flat = np.repeat(list(answer.raster.values), list(answer.raster.lengths))
    return flat.reshape(box.y1 - box.y0, box.x1 - box.x0)


async def test_one_key_answers_a_dominant_question_and_the_next_is_ready(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "dominant")
    async with serving(world):
        page = await annotator(browser, world)
        await until(page, LOADED)
        for rank in range(4):
            await shown(page, f"{KEY}.{rank}")
            await page.keyboard.press(str(rank + 1))
        await shown(page, f"{KEY}.4")
        await settled(page)
        assert [list(people.answers[f"{KEY}.{rank}"].classes.classes) for rank in range(4)] == [[0], [1], [2], [3]]
        one = people.answers[f"{KEY}.0"]
        assert one.clicks == 1
        assert 0 < one.seconds < 600
        assert one.page_version == "tessera-page/1"
        assert people.holders[f"{KEY}.0"] == "ada"
        assert page.faults == []
        # The next question was on the screen in the same task as the key, without waiting for a request.
        waits = await page.evaluate(
            "(ids) => ids.map(([a, b]) => performance.getEntriesByName('shown ' + b)[0].startTime -"
            " performance.getEntriesByName('answered ' + a)[0].startTime)",
            [[f"{KEY}.{rank}", f"{KEY}.{rank + 1}"] for rank in range(3)],
        )
        print("to the next question, ms:", waits)
        order = await page.evaluate(
            "(id) => performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/api/answer'))"
            ".map((one) => one.responseEnd)[0] > performance.getEntriesByName('shown ' + id)[0].startTime",
            f"{KEY}.1",
        )
        assert order, "the next question waited for the server"


@pytest.mark.full
async def test_classes_are_switched_on_and_off_and_undone(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "multi_class")
    async with serving(world):
        page = await annotator(browser, world)
        for key in ("1", "3", "0", "3", "u", "Enter"):
            await page.keyboard.press(key)
        await shown(page, f"{KEY}.1")
        await page.keyboard.press("Enter")
        assert "Choose a class" in await page.inner_text("#say")
        await settled(page)
        # 3 was switched off and that was undone.
        assert list(people.answers[f"{KEY}.0"].classes.classes) == [0, 2, 255]
        # Back to the last answer, which is corrected.
        await page.keyboard.press("u")
        await shown(page, f"{KEY}.0")
        await page.keyboard.press("2")
        await page.keyboard.press("Enter")
        await shown(page, f"{KEY}.1")
        await settled(page)
        assert people.calls == [("answer", f"{KEY}.0"), ("correct", f"{KEY}.0")]
        assert list(people.answers[f"{KEY}.0"].classes.classes) == [0, 1, 2, 255]
        assert page.faults == []


@pytest.mark.full
async def test_a_question_is_skipped_with_a_reason(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "multi_class")
    async with serving(world):
        page = await annotator(browser, world)
        await page.keyboard.press("k")
        await page.click("text=The image is too dark or blurred")
        await shown(page, f"{KEY}.1")
        await settled(page)
        assert people.answers[f"{KEY}.0"].skipped == "The image is too dark or blurred"
        # A skip is taken back by an answer.
        await page.keyboard.press("u")
        await shown(page, f"{KEY}.0")
        await page.keyboard.press("4")
        await page.keyboard.press("Enter")
        await shown(page, f"{KEY}.1")
        await settled(page)
        assert people.calls[-1] == ("correct", f"{KEY}.0")
        assert list(people.answers[f"{KEY}.0"].classes.classes) == [3]


async def test_a_mask_is_drawn_to_the_pixel(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "mask")
    async with serving(world):
        page = await annotator(browser, world)
        asked, truth = people.questions[0], people.truth[0]
        box = asked.box
        # A rectangle in class 2, the rest in class 1; two open polygons are taken back first.
        y0, x0, y1, x1 = box.y0 + 3, box.x0 + 4, box.y0 + 15, box.x0 + 20
        await page.keyboard.press("2")
        await click(page, x0, y0)
        await click(page, x1, y0)
        await page.keyboard.press("Backspace")
        await click(page, x1, y0)
        await click(page, x1, y1)
        await click(page, x0, y1)
        await page.keyboard.press("Enter")
        await page.keyboard.press("1")
        await page.keyboard.press("f")
        await page.keyboard.press("Enter")
        await shown(page, f"{KEY}.1")
        await settled(page)
        found = raster(people.answers[f"{KEY}.0"], asked)
        inside = truth != 255
        expected = np.full(found.shape, 0)
        expected[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = 1
        assert np.array_equal(found[inside], expected[inside])
        assert (found[~inside] == 255).all()
        assert b'"polygon"' in people.answers[f"{KEY}.0"].drawing
        assert people.answers[f"{KEY}.0"].clicks >= 9

        # The prediction as a start, and what is left open asks for a second Enter.
        await page.keyboard.press("b")
        await click(page, box.x0 + 1, box.y0 + 1)
        await page.keyboard.press("u")
        await page.keyboard.press("Enter")
        assert "no class" in await page.inner_text("#say")
        await page.keyboard.press("y")
        await page.keyboard.press("Enter")
        await shown(page, f"{KEY}.2")
        await settled(page)
        found, truth = raster(people.answers[f"{KEY}.1"], people.questions[1]), people.truth[1]
        assert found.shape == truth.shape
        assert set(np.unique(found[truth != 255])) <= {0, 1, 2, 3}
        assert page.faults == []


@pytest.mark.full
async def test_superpixels_and_the_brush_paint_inside_the_region_alone(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "mask")
    async with serving(world):
        page = await annotator(browser, world)
        asked, inside = people.questions[0], people.truth[0] != 255
        row, column = np.argwhere(inside)[len(np.argwhere(inside)) // 2].tolist()
        await page.keyboard.press("3")
        await page.keyboard.press("n")
        await click(page, asked.box.x0 + column + 0.5, asked.box.y0 + row + 0.5)
        labels = "Array.from(tesseraPage.now.task.editor.labels)"
        painted = np.array(await page.evaluate(labels)).reshape(inside.shape)
        segments = np.array(await page.evaluate("Array.from(tesseraPage.now.question.segments)")).reshape(inside.shape)
        assert np.array_equal(painted == 2, (segments == segments[row, column]) & inside)
        await page.keyboard.press("4")
        await page.keyboard.press("b")
        await click(page, asked.box.x0 + column + 0.5, asked.box.y0 + row + 0.5)
        painted = np.array(await page.evaluate(labels)).reshape(inside.shape)
        assert painted[row, column] == 3
        assert (painted[~inside] == -1).all()


@pytest.mark.full
async def test_pixels_are_named_in_turn(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "pixel")
    async with serving(world):
        page = await annotator(browser, world)
        for key in ("1", "2", "u", "4", "0"):
            await page.keyboard.press(key)
        await shown(page, f"{KEY}.1")
        await settled(page)
        assert list(people.answers[f"{KEY}.0"].points.classes) == [0, 3, 255]


@pytest.mark.full
@pytest.mark.parametrize("query", ["image", "polygon_in_patch"])
async def test_whole_images_and_patches_are_drawn_too(browser: Any, tmp_path: Path, query: str) -> None:
    world, people = await world_of(tmp_path, query)
    async with serving(world):
        page = await annotator(browser, world)
        await page.keyboard.press("5")
        await page.keyboard.press("f")
        await page.keyboard.press("Enter")
        await shown(page, f"{KEY}.1")
        await settled(page)
        found = raster(people.answers[f"{KEY}.0"], people.questions[0])
        assert (found[people.truth[0] != 255] == 4).all()


async def test_a_lost_network_costs_nothing(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "dominant")
    async with serving(world):
        page = await annotator(browser, world)
        await until(page, LOADED)
        await page.context.set_offline(True)
        for rank in range(3):
            await shown(page, f"{KEY}.{rank}")
            await page.keyboard.press("2")
        await page.wait_for_selector("text=3 answers kept here")
        assert people.answers == {}
        await page.context.set_offline(False)
        await settled(page)
        assert people.calls == [("answer", f"{KEY}.{rank}") for rank in range(3)]
        await until(page, "!document.getElementById('sending').textContent")


@pytest.mark.full
async def test_a_coordinator_that_restarts_in_mid_answer_counts_it_once(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "dominant")
    async with serving(world):
        page = await annotator(browser, world)
        # The answer is counted, and the page never learns of it.
        people.delay = 0.5
        await page.keyboard.press("1")
        for _ in range(200):
            if people.calls:
                break
            await page.wait_for_timeout(20)
        people.away = True
        await page.wait_for_selector("text=1 answer kept here")
        people.away, people.delay = False, 0.0
        await settled(page)
        assert len(people.counted) == 1
        assert len(people.calls) >= 2


async def test_a_closed_tab_loses_neither_answer_nor_drawing(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "mask")
    async with serving(world):
        page = await annotator(browser, world)
        people.away = True
        for key in ("1", "f", "Enter"):
            await page.keyboard.press(key)
        await page.wait_for_selector("text=1 answer kept here")
        people.away = False  # but the tab is closed before the next try
        context = page.context
        await shown(page, f"{KEY}.1")
        await page.keyboard.press("3")
        await page.keyboard.press("f")
        await page.close()
        again = await context.new_page()
        await again.goto(f"{world.base}/label")
        await shown(again, f"{KEY}.1")
        await settled(again)
        assert list(people.answers) == [f"{KEY}.0"]
        assert len(people.counted) == 1
        # The drawing is where it was.
        labels = await again.evaluate("[...new Set(tesseraPage.now.task.editor.labels)]")
        assert sorted(labels) == [-1, 2]


@pytest.mark.full
async def test_two_annotators_never_hold_the_same_question(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "dominant", count=10)
    async with serving(world):
        pages = [await annotator(browser, world, name) for name in ("ada", "bob")]
        seen: list[set[str]] = [set(), set()]
        for _ in range(5):
            for page, mine in zip(pages, seen, strict=True):
                if len(mine) == 5 or len(people.answers) == 10:
                    continue
                mine.add(await question(page))
                before = await question(page)
                await page.keyboard.press("1")
                await settled(page)
                if len(people.answers) < 10:
                    await until(
                        page,
                        f"document.getElementById('label').dataset.question !== '{before}' || "
                        "document.getElementById('work').hidden",
                    )
        assert not seen[0] & seen[1]
        assert {people.holders[one] for one in seen[0]} == {"ada"}
        assert {people.holders[one] for one in seen[1]} == {"bob"}


@pytest.mark.full
async def test_an_image_is_for_whom_its_question_is(browser: Any, tmp_path: Path) -> None:
    world, _ = await world_of(tmp_path, "dominant")
    async with serving(world), world.client() as other:
        page = await annotator(browser, world, "ada")
        address = await page.evaluate("tesseraPage.now.question.image")
        await world.signed_in(other, world.door.invite("bob", "", 1))
        assert (await other.get(address)).status_code == 403
        assert (await other.get(address[:-6] + "AAAAAA")).status_code == 403
        mine = await page.evaluate("(path) => fetch(path).then((one) => one.status)", address)
        assert mine == 200


@pytest.mark.full
async def test_fingers_draw_and_two_fingers_zoom(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "mask")
    async with serving(world):
        page = await annotator(browser, world, viewport=NARROW, has_touch=True)
        asked = people.questions[0]
        await page.tap("#palette button >> nth=1")
        await page.tap("#tool-brush")
        at = await page.evaluate(
            "([x, y]) => { const r = tesseraPage.view.canvas.getBoundingClientRect();"
            " const [a, b] = tesseraPage.screen(x, y); return [r.left + a, r.top + b]; }",
            [(asked.box.x0 + asked.box.x1) / 2, (asked.box.y0 + asked.box.y1) / 2],
        )
        await page.touchscreen.tap(*at)
        assert await page.evaluate("tesseraPage.now.task.editor.labels.includes(1)")
        scale = await page.evaluate("tesseraPage.view.scale")
        session = await page.context.new_cdp_session(page)
        for spread in (20, 60, 100):
            points = [{"x": at[0] - spread / 2, "y": at[1], "id": 1}, {"x": at[0] + spread / 2, "y": at[1], "id": 2}]
            kind = "touchStart" if spread == 20 else "touchMove"
            await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        await until(page, f"tesseraPage.view.scale > {1.5 * scale}")
