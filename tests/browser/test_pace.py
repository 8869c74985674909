"""How long an annotator waits for the next question: the 95th percentile over 100 questions of each kind, printed.

From the key that answers until the next question has been painted (two animation frames after it was drawn), with the
three next questions loaded ahead. Page server, gRPC and store are real; three answers a second are given at most, which
is faster than people give them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser.pages import annotator, settled
from dashboard.people import KEY, crowd
from dashboard.world import serving, small

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
QUESTIONS = 104
WATCH = """() => {
  window.paints = {};
  new PerformanceObserver((list) => {
    for (const { name } of list.getEntries())
      if (name.startsWith('shown '))
        requestAnimationFrame(() => requestAnimationFrame(() => (window.paints[name.slice(6)] = performance.now())));
  }).observe({ entryTypes: ['mark'] });
  addEventListener('keydown', (event) => (window.pressed = event.timeStamp), true);
}"""
KEYS = {"dominant": ("1",), "multi_class": ("1", "3", "Enter"), "mask": ("2", "f", "Enter")}
AIM_MS = 100.0


@pytest.mark.parametrize("query", sorted(KEYS))
async def test_the_next_question_is_there_at_once(
    browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], query: str
) -> None:
    world = await small(tmp_path)
    people = await crowd(world, query, QUESTIONS)
    waits = []
    async with serving(world):
        page = await annotator(browser, world)
        await page.evaluate(WATCH)
        for rank in range(QUESTIONS - 1):
            await page.wait_for_selector(f'#label[data-question="{KEY}.{rank}"]')
            await asyncio.sleep(0.3)
            for key in KEYS[query]:
                await page.keyboard.press(key)
            following = f"{KEY}.{rank + 1}"
            async with asyncio.timeout(120):
                while (painted := await page.evaluate("(id) => window.paints[id] ?? 0", following)) == 0:
                    await asyncio.sleep(0.02)
            waits.append(painted - await page.evaluate("window.pressed"))
        await settled(page)
        assert len(people.answers) == QUESTIONS - 1
        assert page.faults == []
    p50, p95, worst = np.percentile(waits, [50, 95, 100])
    with capsys.disabled():
        print(f"\n{query}, {len(waits)} questions: median {p50:.0f} ms, 95% {p95:.0f} ms, worst {worst:.0f} ms")
    # The aim is 100 ms on an idle machine; a test must also pass on a busy one.
    assert p50 < 20 * AIM_MS
