"""Take a picture of every page, wide and narrow, light and dark, for somebody to look at.

Run ``PYTHONPATH=tests python -m browser.screenshots FOLDER [WORD …]`` (with words: pages whose name has one of them).
The pages are those of a made-up coordinator, with long names, many classes and nothing at all among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np

from browser.conftest import find_chromium
from browser.pages import NARROW, WIDE, annotator, settled, signed_in
from browser.test_labelling import click
from dashboard.people import Crowd, crowd
from dashboard.world import World, serving, small
from tessera.datasets.street.params import CAR, CLASSES, StreetParams
from tessera.datasets.street.render import render_sequence
from tessera.errors import Unavailable
from tessera.pb import runs_pb2 as pb
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load

LOOKS = [
    (f"{name}-{scheme}", size, scheme)
    for name, size in (("wide", WIDE), ("narrow", NARROW))
    for scheme in ("light", "dark")
]
LONG = "meal-with-a-rather-long-name-that-somebody-chose-for-the-third-night-shift-of-camera-17"
QUERIES = ("dominant", "multi_class", "mask", "pixel", "polygon_in_patch", "image")
PAGES = {
    "runs": "/",
    "run-done": "/runs/meal-1?over=clicks",
    "run-running": "/runs/meal-2",
    "run-failed": f"/runs/{LONG}",
    "round": "/runs/meal-1/rounds/1",
    "image": "/runs/meal-1/rounds/1/images/0",
    "compare-empty": "/compare",
    "compare": "/compare?run=meal-1&run=meal-2&over=clicks",
    "compare-bad": "/compare?run=meal-4",
    "workers": "/workers",
    "annotators": "/annotators",
    "error-400": "/runs/nobody",
    "error-404": "/nothing/here",
    "error-404-image": "/runs/meal-1/rounds/1/images/99",
}


WHEN = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


class Camera:
    """Opens pages in every look and keeps their pictures in a folder."""

    def __init__(self, browser: Any, folder: Path, words: list[str]) -> None:
        self.browser, self.folder, self.words = browser, folder, words

    def wants(self, name: str) -> bool:
        """Whether a page is among those that were asked for."""
        return not self.words or any(word in name for word in self.words)

    async def keep(self, page: Any, name: str, look: str, *, whole: bool = True) -> None:
        """Keep one picture; ``whole``: of the page's full height."""
        await page.wait_for_timeout(250)
        await page.screenshot(path=self.folder / f"{name}-{look}.png", full_page=whole)

    async def pages(self, world: World, paths: dict[str, str], token: str | None = None) -> None:
        """Take the pages of an operator, or of whoever ``token`` names."""
        for look, viewport, scheme in LOOKS:
            wanted = {name: path for name, path in paths.items() if self.wants(name)}
            if not wanted:
                continue
            options = {"viewport": viewport, "color_scheme": scheme}
            page = await signed_in(self.browser, world, **({"token": token} if token else {}), **options)
            for name, path in wanted.items():
                await page.goto(world.base + path)
                await page.wait_for_load_state("load")
                await self.keep(page, name, look)
            await page.context.close()


@contextlib.asynccontextmanager
async def worlds() -> AsyncIterator[Any]:
    """A function that makes a world of its own in a folder that goes away."""
    with TemporaryDirectory(prefix="tessera-screenshots-") as folder:
        made = iter(range(1000))
        yield lambda: small(Path(folder) / str(next(made)))


async def dashboard(camera: Camera, world: World) -> None:
    """Runs, rounds, comparison, workers, links, errors."""
    people = await crowd(world, "mask", 12)
    people.holders |= {one.question_id: "ada" for one in people.questions[:5]}
    for name, state in ((LONG, pb.RUN_STATUS_FAILED), ("meal-3", pb.RUN_STATUS_CANCELLED)):
        await world.add_run(name, state)
    world.views[LONG].message = "Train failed 3 times: out of memory: more than 40 MiB; see Workers, Failed jobs"
    fresh = await world.add_run("meal-4", pb.RUN_STATUS_RUNNING, rounds=1)
    del fresh.rounds[:]
    fresh.round, fresh.step = 0, "partition"
    for number in range(3):
        job = f"{number}bc{'d' * 61}"
        failure = SimpleNamespace(
            job_key=job, method="Train", attempts=3, reason="out_of_memory",
            envelope=SimpleNamespace(run_id=LONG, job_key=job),
            message="the child took more than 40 MiB; give it more by TESSERA_COMPUTE_MEMORY_BYTES, or a smaller batch",
        )  # fmt: skip
        world.letters.kept.append(SimpleNamespace(failure=failure, verb="train", time=WHEN))
    for name in ("ada", "grace.hopper-with-a-long-name@example.org"):
        await world.links.add(world.door.guest(name, "" if name == "ada" else LONG, 30))
    async with serving(world) as dash:
        await camera.pages(world, PAGES)
        await camera.pages(world, {"error-403": "/workers"}, world.door.invite("ada", "", 1))
        await broken(camera, world, dash)
        await sign_in(camera, world)


async def broken(camera: Camera, world: World, dash: Any) -> None:
    """Errors that no address leads to: a failing page server, a coordinator that is away, and somebody too fast."""
    keep = dash.data.runs.list

    async def fails() -> Any:
        raise RuntimeError("for a picture")

    async def is_away() -> Any:
        raise Unavailable("coordinator 127.0.0.1:7070: no server answers; start it, or check TESSERA_COORDINATOR")

    for name, instead in (("error-500", fails), ("error-503", is_away)):
        dash.data.runs.list = instead
        await camera.pages(world, {name: "/"})
    dash.data.runs.list = keep


async def sign_in(camera: Camera, world: World) -> None:
    """The form of sign-in, and its refusals."""
    for look, viewport, scheme in LOOKS:
        if not any(camera.wants(name) for name in ("sign-in", "error-401", "error-429")):
            return
        context = await camera.browser.new_context(viewport=viewport, color_scheme=scheme)
        page = await context.new_page()
        await page.goto(f"{world.base}/sign-in")
        await camera.keep(page, "sign-in", look)
        for _ in range(12):
            await page.goto(f"{world.base}/sign-in#wrong")
            await page.wait_for_selector("[role=alert]")
            if "Too many" in await page.inner_text("[role=alert]"):
                break
            await camera.keep(page, "error-401", look)
        await camera.keep(page, "error-429", look)
        await context.close()


async def nothing(camera: Camera, folder: Path) -> None:
    """A stack on which nothing has happened yet."""
    world = World(open_store(folder.as_uri(), load(fsync=False)))
    paths = {
        "empty-runs": "/", "empty-workers": "/workers", "empty-annotators": "/annotators", "empty-compare": "/compare",
    }  # fmt: skip
    async with serving(world):
        await camera.pages(world, paths)


async def link(camera: Camera, world: World) -> None:
    """A link that was just made."""
    if not camera.wants("annotators-link"):
        return
    async with serving(world):
        for look, viewport, scheme in LOOKS:
            page = await signed_in(camera.browser, world, viewport=viewport, color_scheme=scheme)
            await page.goto(f"{world.base}/annotators")
            await page.fill("#name", "grace")
            await page.click("text=Make a link")
            await page.wait_for_selector("#link")
            await camera.keep(page, "annotators-link", look)
            await page.context.close()


async def labelling(camera: Camera, world: World, query: str, classes: int = 0) -> None:
    """The labelling page with a question of one kind, its help and its reasons to skip; ``classes``: that many."""
    name = f"label-{query}" + (f"-{classes}-classes" if classes else "")
    if not camera.wants(name):
        return
    people = await crowd(world, query, 8, (240, 320))
    if classes:
        many(people, classes)
    async with serving(world):
        for look, viewport, scheme in LOOKS:
            person = f"{name}-{look}".replace("_", "-")
            people.holders.clear()
            page = await annotator(camera.browser, world, person, viewport=viewport, color_scheme=scheme)
            await camera.keep(page, name, look, whole=False)
            if query in ("mask", "image", "polygon_in_patch"):
                await page.keyboard.press("3")
                if query == "mask":
                    await page.keyboard.press("y")
                    await page.keyboard.press("m")
                    await page.keyboard.press("o")
                else:
                    await page.keyboard.press("f")
            else:
                await page.keyboard.press("2")
            await camera.keep(page, f"{name}-used", look, whole=False)
            if query == "mask":
                await page.keyboard.press("u")
                await page.keyboard.press("Enter")
                await camera.keep(page, f"{name}-doubt", look, whole=False)
                await page.keyboard.press("h")
                await camera.keep(page, f"{name}-help", look, whole=False)
                await page.keyboard.press("Escape")
                await page.keyboard.press("k")
                await camera.keep(page, f"{name}-skip", look, whole=False)
            await page.context.close()


def many(people: Crowd, classes: int) -> None:
    """Let a round have many classes, some with long names."""
    plain = people.round

    def round_() -> Any:
        made = plain()
        del made.classes[:]
        for index in range(classes):
            name = (
                f"class {index}" if index % 7 else f"a class {index} whose name is long, as in WordNet, with synonyms"
            )
            made.classes.add(index=index, name=name, color=f"#{(index * 2654435761) & 0xFFFFFF:06x}")
        return made

    people.round = round_  # type: ignore[method-assign]


async def idle(camera: Camera, world: World) -> None:
    """The labelling page without a question, and with two rounds to choose from."""
    people = await crowd(world, "dominant", 2)

    async def pick(name: str, count: int) -> None:
        plain = people.round

        async def rounds(request: Any) -> Any:
            from tessera.pb import questions_pb2

            made = questions_pb2.ListRoundsResponse()
            for number in range(count):
                one = made.rounds.add()
                one.CopyFrom(plain())
                one.key, one.run_ids[0] = f"{number:064x}", LONG if number else "meal-2"
            return made

        world.extra = [one for one in world.extra if "ListRounds" not in one.path]
        from tessera.pb import questions_pb2
        from tessera.runtime import rpc

        world.extra.append(rpc.Unary("tessera.v1.QuestionsService/ListRounds", questions_pb2.ListRoundsRequest, rounds))
        async with serving(world):
            for look, viewport, scheme in LOOKS:
                options = {"viewport": viewport, "color_scheme": scheme}
                page = await signed_in(camera.browser, world, world.door.invite("ada", "", 1), **options)
                await page.wait_for_timeout(500)
                await camera.keep(page, name, look, whole=False)
                await page.context.close()

    if camera.wants("label-pick"):
        await pick("label-pick", 3)
    if camera.wants("label-none"):
        await pick("label-none", 0)


async def documents(camera: Camera, world: World) -> None:
    """The pictures of the documents: annotators' links, and a region of a street scene, half of it drawn."""
    if not camera.wants("docs"):
        return
    people = await crowd(world, "mask", 6, (240, 360), cars(6))
    people.classes = [(one.name, one.color) for one in CLASSES]
    async with serving(world):
        page = await annotator(camera.browser, world, "ada", viewport={"width": 1180, "height": 720})
        for rank in range(3):
            await page.wait_for_selector(f'#label[data-question="{people.questions[rank].question_id}"]')
            for key in ("9", "f", "Enter"):
                await page.keyboard.press(key)
        await settled(page)
        box = people.questions[3].box
        middle = (box.x0 + box.x1) // 2
        await page.keyboard.press("9")
        for x, y in ((box.x0, box.y0), (middle, box.y0), (middle, box.y1), (box.x0, box.y1)):
            await click(page, x, y)
        await page.keyboard.press("Enter")
        await page.mouse.move(600, 20)
        await page.wait_for_timeout(500)
        await page.screenshot(path=camera.folder / "docs-label.png")
        await page.context.close()
        page = await signed_in(camera.browser, world, viewport={"width": 1180, "height": 430})
        await page.goto(f"{world.base}/annotators")
        await page.fill("#name", "ada")
        await page.screenshot(path=camera.folder / "docs-annotators.png")
        await page.context.close()


def cars(count: int) -> Iterator[tuple[Any, tuple[int, int]]]:
    """Street scenes, each with a pixel of its largest car; the largest cars first."""
    import cv2

    params = StreetParams(height=240, width=360, train=24, frames=1, seed=4)
    found = []
    for number in range(params.train):
        frame = next(iter(render_sequence(params, "train", number)))
        _, parts, stats, centres = cv2.connectedComponentsWithStats((frame.labels == CAR).astype(np.uint8))
        largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if len(stats) > 1 else 0
        ys, xs = np.nonzero(parts == largest)
        near = int(np.argmin((ys - centres[largest][1]) ** 2 + (xs - centres[largest][0]) ** 2))
        found.append((int(stats[largest, cv2.CC_STAT_AREA]) * (largest > 0), number, frame.rgb, (ys[near], xs[near])))
    for _, _, rgb, place in sorted(found, key=lambda one: (-one[0], one[1]))[:count]:
        yield rgb, place


async def main(folder: Path, words: list[str]) -> None:
    """Take all pictures."""
    from playwright.async_api import async_playwright

    async with async_playwright() as driver, worlds() as new:
        browser = await driver.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        try:
            camera = Camera(browser, folder, words)
            await dashboard(camera, await new())
            with TemporaryDirectory(prefix="tessera-screenshots-") as other:
                await nothing(camera, Path(other))
            await link(camera, await new())
            for query in QUERIES:
                await labelling(camera, await new(), query)
            for query in ("multi_class", "mask"):
                await labelling(camera, await new(), query, 60)
            await idle(camera, await new())
            await documents(camera, await new())
        finally:
            await browser.close()


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
