"""The dashboard in a browser: it follows a run, loads pictures when they are seen, and hands out links."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from browser.pages import annotator, settled, signed_in, until
from dashboard.people import crowd
from dashboard.test_slow_prediction import with_model
from dashboard.world import serving, small
from tessera.pb import runs_pb2 as pb

pytestmark = [pytest.mark.full]


async def test_a_run_is_followed_without_reloading(browser: Any, tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world):
        page = await signed_in(browser, world)
        await page.goto(f"{world.base}/runs/meal-2")
        await until(page, "document.getElementById('note').textContent === 'training'")
        await page.evaluate("window.stayed = true")
        view = world.views["meal-2"]
        view.status, view.message = pb.RUN_STATUS_FAILED, "Train failed: <out of memory>"
        world.changed.set()
        await page.wait_for_selector("text=Train failed: <out of memory>")
        await page.wait_for_selector("text=Resume the run")
        assert await page.evaluate("window.stayed")
        await page.click("text=Resume the run")
        await page.wait_for_load_state("load")
        assert world.told == [("resume", "meal-2")]
        assert page.faults == []


async def test_tabs_that_nobody_sees_leave_their_connections_to_the_others(browser: Any, tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world):
        page = await signed_in(browser, world)
        tabs = [await page.context.new_page() for _ in range(8)]  # a browser opens six connections to a server
        for tab in tabs:
            await tab.goto(f"{world.base}/runs/meal-2", timeout=20_000)
            await until(tab, "document.getElementById('note').textContent === 'training'")
            # Chromium without a screen calls every tab visible.
            await tab.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.covered !== false})")
            await tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        world.views["meal-2"].status = pb.RUN_STATUS_FAILED
        world.views["meal-2"].message = "Train failed: out of memory"
        world.changed.set()
        await tabs[0].evaluate("window.covered = false; document.dispatchEvent(new Event('visibilitychange'))")
        await tabs[0].wait_for_selector("text=Resume the run")


async def test_pictures_are_loaded_when_they_are_seen(browser: Any, tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world):
        page = await signed_in(browser, world, viewport={"width": 390, "height": 500})
        await page.goto(f"{world.base}/runs/meal-1/rounds/0")
        await until(page, "document.querySelectorAll('.picture svg').length > 0")
        assert await page.evaluate("document.querySelectorAll('.waiting').length > 0")
        await page.evaluate("scrollTo(0, document.body.scrollHeight)")
        await page.wait_for_timeout(50)
        for _ in range(8):
            await page.mouse.wheel(0, -600)
            await page.wait_for_timeout(50)
        await until(page, "document.querySelectorAll('.waiting').length === 0")
        await page.click(".gallery a >> nth=0")
        await page.wait_for_selector("text=Prediction of the model that chose")
        assert page.faults == []


async def test_a_link_takes_an_annotator_to_their_questions(browser: Any, tmp_path: Path) -> None:
    world = await small(tmp_path)
    await crowd(world, "multi_class", 4)
    async with serving(world):
        page = await signed_in(browser, world)
        await page.goto(f"{world.base}/annotators")
        await page.fill("#name", "grace")
        await page.click("text=Make a link")
        link = await page.input_value("#link")
        assert "#" in link
        other = await (await browser.new_context()).new_page()
        await other.goto(link)
        await other.wait_for_selector("#label[data-question]")
        assert "#" not in other.url
        assert await other.get_attribute("#label", "data-person") == "grace"
        assert set(world_holders(world)) == {"grace"}
        # The operator sees how far people are.
        await page.goto(f"{world.base}/runs/meal-2")
        await page.wait_for_selector("text=Round 3 waits for people")


def world_holders(world: Any) -> list[str]:
    """Who holds a question of the world's crowd."""
    return list(world.extra[0].function.__self__.holders.values())


async def test_what_happens_between_a_page_and_its_first_event_is_shown(browser: Any, tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world):
        page = await signed_in(browser, world)
        loaded, listens = asyncio.Event(), asyncio.Event()

        async def late(route: Any) -> None:
            listens.set()
            await loaded.wait()
            await route.continue_()

        await page.route("**/events", late)
        await page.goto(f"{world.base}/runs/meal-2")
        await listens.wait()
        world.views["meal-2"].status = pb.RUN_STATUS_FAILED
        # Whoever goes through the page by keyboard stays where they are.
        await page.focus("text=Round 1")
        loaded.set()
        await page.wait_for_selector("text=Resume the run")
        assert (await page.evaluate("document.activeElement.textContent")).startswith("Round 1")
        await page.unroute_all(behavior="ignoreErrors")
        assert page.faults == []


async def test_a_prediction_that_was_killed_is_told_on_its_page_and_may_be_tried_again(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child_functions: str
) -> None:
    monkeypatch.setattr("services.dashboard.prediction._FUNCTION", f"{child_functions}:spin")
    world, people = await with_model(tmp_path, 8)
    async with serving(world) as dashboard:
        page = await signed_in(browser, world)
        await page.goto(f"{world.base}/runs/meal-1/rounds/1/images/0")
        await page.wait_for_selector("text=The model computes its prediction")
        for _ in range(2):
            async with asyncio.timeout(120):
                while not ((pool := dashboard.data.predictions._pool) and pool.busy):
                    await asyncio.sleep(0.02)
            # Somebody answers meanwhile.
            other = await annotator(browser, world, f"ada{len(people.answers)}")
            await other.keyboard.press("1")
            await settled(other)
            await other.context.close()
            for pid in pool.pids:
                os.kill(pid, signal.SIGKILL)
            await page.wait_for_selector("text=This picture cannot be shown. The prediction ")
            await page.click("text=Try again")
        assert len(people.answers) == 2
        assert page.faults == []
