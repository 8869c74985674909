"""Opening the dashboard in a browser as somebody."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from dashboard.world import TOKEN, World

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


async def signed_in(browser: Any, world: World, token: str = TOKEN, **options: Any) -> Any:
    """A page of a fresh profile, signed in by a link; what goes wrong in it is kept in ``page.faults``."""
    context = await browser.new_context(**{"viewport": WIDE, **options})
    page = await context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda told: page.faults.append(told.text) if "Content Security" in told.text else None)
    page.set_default_timeout(120_000)
    await page.goto(f"{world.base}/sign-in#{token}")
    await page.wait_for_url(lambda address: "sign-in" not in address)
    return page


async def annotator(browser: Any, world: World, name: str = "ada", **options: Any) -> Any:
    """The labelling page of an annotator, with its first question."""
    page = await signed_in(browser, world, world.door.invite(name, "", 1), **options)
    try:
        await page.wait_for_selector("#label[data-question]")
    except Exception as error:
        said = await page.evaluate("document.body.innerText.slice(0, 500)")
        raise AssertionError(f"no question is shown at {page.url}: {said!r}; {page.faults}") from error
    return page


async def question(page: Any) -> str:
    """The id of the question that the page shows."""
    return str(await page.get_attribute("#label", "data-question"))


async def settled(page: Any) -> None:
    """Wait until the server has every answer of this page."""
    await until(page, "Object.keys(localStorage).every((key) => !key.startsWith('tessera.answer.'))")


async def until(page: Any, condition: str, seconds: float = 60.0) -> None:
    """Wait until an expression is true in the page. (Playwright's own way needs eval, which the policy forbids.)"""
    deadline = time.monotonic() + seconds
    while not await page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < deadline, f"timed out waiting for {condition}"
        await asyncio.sleep(0.02)
