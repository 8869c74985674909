"""Every page against WCAG 2.1 AA and the size of targets of 2.2, by axe-core, wide and narrow, light and dark."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from browser.pages import NARROW, WIDE, annotator, signed_in
from dashboard.people import crowd
from dashboard.world import serving, small

AXE = Path(__file__).with_name("axe-core") / "axe.min.js"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAGES = [
    "/", "/runs/meal-1", "/runs/meal-2", "/runs/meal-1/rounds/1", "/runs/meal-1/rounds/1/images/0", "/workers",
    "/annotators", "/compare?run=meal-1&run=meal-2", "/compare", "/no/such/page",
]  # fmt: skip
LOOKS = [(WIDE, "light"), (NARROW, "dark")]


def test_axe_is_the_published_one() -> None:
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() == SHA256


async def faults(page: Any) -> list[str]:
    """What axe finds, one line each."""
    # Through the debugger, which the content security policy does not concern.
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("(rules) => axe.run(document, { runOnly: rules })", RULES)
    return [
        f"{one['impact']} {one['id']}: {one['help']}: {node['html'][:160]}"
        for one in found["violations"]
        for node in one["nodes"]
        if one["impact"] in ("serious", "critical", "moderate")
    ]


@pytest.mark.full
@pytest.mark.parametrize(("viewport", "scheme"), LOOKS, ids=["wide light", "narrow dark"])
async def test_the_dashboard_has_no_serious_fault(
    browser: Any, tmp_path: Path, viewport: dict[str, int], scheme: str
) -> None:
    world = await small(tmp_path)
    await crowd(world, "mask", 3)
    async with serving(world):
        page = await signed_in(browser, world, viewport=viewport, color_scheme=scheme)
        found = {}
        for path in PAGES:
            await page.goto(world.base + path)
            await page.wait_for_load_state("load")
            found[path] = await faults(page)
            wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{path} is {wide} pixels wider than the window"
        await page.context.clear_cookies()
        await page.goto(world.base + "/sign-in")
        found["/sign-in"] = await faults(page)
        assert not any(found.values()), found
        assert page.faults == []


@pytest.mark.parametrize(
    ("query", "viewport", "scheme"),
    [
        ("mask", *LOOKS[0]),
        pytest.param("mask", *LOOKS[1], marks=pytest.mark.full),
        pytest.param("multi_class", *LOOKS[0], marks=pytest.mark.full),
        pytest.param("multi_class", *LOOKS[1], marks=pytest.mark.full),
    ],
)
async def test_the_labelling_page_has_no_serious_fault(
    browser: Any, tmp_path: Path, query: str, viewport: dict[str, int], scheme: str
) -> None:
    world = await small(tmp_path)
    await crowd(world, query, 3)
    async with serving(world):
        page = await annotator(browser, world, viewport=viewport, color_scheme=scheme)
        await page.keyboard.press("2")
        found = {"question": await faults(page)}
        await page.keyboard.press("h")
        found["help"] = await faults(page)
        await page.keyboard.press("Escape")
        await page.keyboard.press("k")
        found["skip"] = await faults(page)
        assert not any(found.values()), found
        # It would be found: a button that says nothing.
        await page.evaluate("document.querySelector('dialog[open]').append(document.createElement('button'))")
        assert any("button-name" in fault for fault in await faults(page))
        assert page.faults == []
