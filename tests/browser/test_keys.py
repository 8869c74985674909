"""Keys of the labelling page: what was undone comes back, many classes are found by name, every keyboard works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from browser.pages import annotator, settled, until
from browser.screenshots import many
from browser.test_labelling import click, raster, shown, world_of
from dashboard.people import KEY
from dashboard.world import serving

LABELS = "Array.from(tesseraPage.now.task.editor.labels).join()"
TYPED = """([key, code, more]) => document.getElementById("canvas").dispatchEvent(
  new KeyboardEvent("keydown", { key, code, bubbles: true, cancelable: true, ...more }))"""


async def typed(page: Any, key: str, code: str, **more: Any) -> None:
    """Press a key as a keyboard of another country reports it."""
    await page.evaluate(TYPED, [key, code, more])


async def test_what_was_undone_is_redone_and_classes_are_found_by_name(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "mask", count=2)
    many(people, 60)
    async with serving(world):
        page = await annotator(browser, world)
        box = people.questions[0].box
        # Corners, a polygon and a fill: taken back step by step and made again.
        for x, y in ((2, 2), (14, 2), (14, 12)):
            await click(page, box.x0 + x, box.y0 + y)
        await page.keyboard.press("Control+z")
        assert await page.evaluate("tesseraPage.now.task.path.length") == 2
        await page.keyboard.press("Control+Shift+z")
        assert await page.evaluate("tesseraPage.now.task.path.length") == 3
        await page.keyboard.press("Enter")
        drawn = await page.evaluate(LABELS)
        # The 60th class has no key: it is found by its name.
        await page.keyboard.press("/")
        await page.keyboard.type("CLASS 59")
        assert (
            await page.evaluate("[...document.querySelectorAll('#palette button')].filter((b) => !b.hidden).length")
            == 1
        )
        await page.keyboard.press("Enter")
        assert await page.evaluate("tesseraPage.now.task.class") == 59
        await page.keyboard.press("f")
        filled = await page.evaluate(LABELS)
        for key in ("u", "Backspace"):
            await page.keyboard.press(key)
        assert "0" not in (await page.evaluate(LABELS)).split(",")
        await page.keyboard.press("Control+y")
        assert await page.evaluate(LABELS) == drawn
        await page.keyboard.press("Control+y")
        assert await page.evaluate(LABELS) == filled
        await page.keyboard.press("Control+y")
        assert "nothing to redo" in await page.inner_text("#say")
        # A new step ends what could be redone.
        await page.keyboard.press("u")
        await page.keyboard.press("1")
        await page.keyboard.press("f")
        await page.keyboard.press("Control+y")
        assert "nothing to redo" in await page.inner_text("#say")
        await page.keyboard.press("u")
        await page.keyboard.press("Control+y")
        # What no class has is no choice, and Escape leaves the field without one.
        await page.keyboard.press("/")
        await page.keyboard.type("no such class")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Escape")
        assert await page.input_value("#find") == ""
        await page.keyboard.press("Enter")
        await shown(page, f"{KEY}.1")
        await settled(page)
        inside = people.truth[0] != 255
        assert (raster(people.answers[f"{KEY}.0"], people.questions[0])[inside] == 0).all()
        assert page.faults == []


@pytest.mark.full
async def test_keys_do_the_same_on_keyboards_of_other_countries(browser: Any, tmp_path: Path) -> None:
    world, _ = await world_of(tmp_path, "mask", count=2)
    async with serving(world):
        page = await annotator(browser, world)
        await typed(page, "é", "Digit2")  # France: 2 without Shift
        assert await page.evaluate("tesseraPage.now.task.class") == 1
        await typed(page, "&", "Digit1")
        assert await page.evaluate("tesseraPage.now.task.class") == 0
        await typed(page, "и", "KeyB")  # Russia: the key of B
        assert await page.evaluate("tesseraPage.now.task.tool") == "brush"
        size = "tesseraPage.now.task.radius"
        before = await page.evaluate(size)
        await typed(page, "]", "Digit9", ctrlKey=True, altKey=True, modifierAltGraph=True)  # Germany: AltGr and 9
        await typed(page, ".", "Period", repeat=True)  # held down
        after = await page.evaluate(size)
        assert after > 1.5 * before
        for key in ("[", ","):
            await page.keyboard.press(key)
        assert abs(await page.evaluate(size) - before) <= 2
        # Holding an arrow goes on moving.
        left = await page.evaluate("tesseraPage.view.left")
        await typed(page, "ArrowRight", "ArrowRight", repeat=True)
        assert await page.evaluate("tesseraPage.view.left") > left
        # The browser's own shortcuts stay its own.
        kept = await page.evaluate(TYPED, ["f", "KeyF", {"ctrlKey": True}])
        assert kept, "Ctrl+F finds in the page"
        assert await page.evaluate("tesseraPage.now.task.editor.steps.length") == 0
        assert page.faults == []


@pytest.mark.full
async def test_undo_goes_back_over_several_one_key_answers(browser: Any, tmp_path: Path) -> None:
    world, people = await world_of(tmp_path, "dominant", count=4)
    async with serving(world):
        page = await annotator(browser, world)
        for rank in range(2):
            await shown(page, f"{KEY}.{rank}")
            await page.keyboard.press("1")
        await shown(page, f"{KEY}.2")
        for rank in (1, 0):
            await page.keyboard.press("u")
            await shown(page, f"{KEY}.{rank}")
        await page.keyboard.press("3")
        await shown(page, f"{KEY}.1")
        await settled(page)
        await until(page, "document.getElementById('progress-words').textContent === '2 of 4 done · 2 by you'")
        assert list(people.answers[f"{KEY}.0"].classes.classes) == [2]
