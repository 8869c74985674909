"""The page's rasteriser and Python's cover the same pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from browser.pages import signed_in
from dashboard.world import serving, small
from tessera.queries.drawing import UNIT, polygon, stroke

SHAPES = """
async (cases) => {
  const { polygon, stroke } = await import("/static/label/raster.js");
  return cases.map(({ points, radius, box }) =>
    Array.from(radius === null ? polygon(points, box) : stroke(points, radius, box)).join(""));
}
"""
RUNS = """
async (mask) => {
  const { inside, runs, fromRuns } = await import("/static/label/raster.js");
  const array = inside(mask.counts, mask.size);
  return { array: Array.from(array), back: Array.from(fromRuns(runs(array), mask.size)) };
}
"""


def cases() -> list[dict[str, Any]]:
    """Shapes of every kind: small and huge, crossing themselves, with corners on corners and centres of pixels."""
    rng = np.random.default_rng(7)
    made = []
    for number in range(400):
        y0, x0 = rng.integers(0, 40, 2).tolist()
        height, width = rng.integers(1, 40, 2).tolist()
        box = (y0, x0, y0 + height, x0 + width)
        grid = (1, UNIT, UNIT // 2, 1)[number % 4]
        far = 20_000 * UNIT if number % 50 == 0 else 90 * UNIT
        points = (rng.integers(-far // grid // 8, far // grid, (rng.integers(1, 14), 2)) * grid).tolist()
        radius = int(rng.integers(0, 12 * UNIT)) if number % 3 == 2 else None
        made.append({"points": points, "radius": radius, "box": box})
    return made


async def test_shapes_cover_the_same_pixels_in_the_browser_and_in_python(browser: Any, tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world):
        page = await signed_in(browser, world)
        given = cases()
        found = await page.evaluate(SHAPES, given)
        covered = 0
        for case, text in zip(given, found, strict=True):
            points, box = [tuple(point) for point in case["points"]], case["box"]
            made = polygon(points, box) if case["radius"] is None else stroke(points, case["radius"], box)
            assert text == "".join(map(str, made.astype(int).reshape(-1).tolist())), case
            covered += int(made.sum())
        assert covered > 20_000
        mask = np.random.default_rng(1).random(300) < 0.4
        from dashboard.people import counts

        back = await page.evaluate(RUNS, {"counts": counts(mask), "size": 300})
        assert back["array"] == back["back"] == mask.astype(int).tolist()
