"""The dashboard over a real stack (NATS, S3, coordinator, workers, page server): a run is followed while it goes on,
cancelled and resumed by clicks, and ends as the same run does that nobody touched."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from browser.pages import until
from dashboard.test_up import ADDRESS
from dashboard.told import Told, form_key
from integration import loop
from servers import S3Process, running
from services.dashboard.sign_in import VIEWER, Door, Person
from services.dashboard.web import COOKIE

pytestmark = [pytest.mark.full]
# Long enough that a click meets it in the middle.
TRAINING = {**loop.RECIPE["training"], "epochs": 12}
WORK_SECONDS = 2.0
"""What the workers may still compute for a run after it was cancelled."""


@dataclass
class Computing:
    """CPU seconds of the workers' children, which is work whatever else the machine does."""

    out: Path
    spent: dict[int, float] = field(default_factory=dict)

    def look(self) -> float:
        """Look now; return the CPU seconds of every child that was seen, of one that has ended its last."""
        for child in loop.compute_children(self.out):
            with contextlib.suppress(psutil.Error):
                times = child.cpu_times()
                self.spent[child.pid] = times.user + times.system
        return sum(self.spent.values())

    async def until_quiet(self) -> float:
        """Wait until nothing more is computed for a second; return what was computed meanwhile."""
        before = last = self.look()
        quiet = time.monotonic()
        while time.monotonic() - quiet < 1.0:
            await asyncio.sleep(0.05)
            now = self.look()
            if now > last + 0.011:  # two ticks: waiting costs a little as well
                last, quiet = now, time.monotonic()
            assert now - before < 30, "the work goes on"
        return last - before


@contextlib.asynccontextmanager
async def stack(folder: Path) -> AsyncIterator[tuple[str, str, dict[str, str]]]:
    """``tessera up --dashboard`` over S3: the dashboard's address, its token, and what to export."""
    with running(S3Process(folder / "s3")) as server:
        assert isinstance(server, S3Process)
        log, keys = folder / "up.log", server.environment()
        up = loop.start(
            "up", "--dashboard", "--out", folder / "stack", "--store", f"s3://{server.bucket}/here", log=log, **keys
        )
        try:

            def told() -> bool:
                return "up; logs in" in log.read_text() or up.poll() is not None

            await asyncio.to_thread(loop.until, told, loop.TIMEOUT, "tessera up")
            text = log.read_text()
            found = ADDRESS.search(text)
            assert found is not None, text
            lines = [line.removeprefix("export ") for line in text.splitlines() if line.startswith("export ")]
            yield found[1], found[2], {**keys, **dict(line.split("=", 1) for line in lines)}
            up.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(up.wait, 60) in (0, 130), log.read_text()
        finally:
            loop.end_started()


async def nobody_else_steers(base: str, run: str, token: str, operator: httpx.AsyncClient) -> None:
    """An annotator, a viewer and a foreign page neither cancel nor resume."""
    door = Door(token)
    viewer = door.sign(Person("eve", VIEWER, "", time.time() + 600))
    guest = door.invite("ada", run, 1)
    for session in (viewer, guest):
        async with httpx.AsyncClient(base_url=base, timeout=60, cookies={COOKIE: session}) as client:
            key = await form_key(client)
            for action in ("cancel", "resume"):
                sent = await client.post(f"/runs/{run}/{action}", data={"form_key": key})
                assert sent.status_code == 403, sent.text
    key = await form_key(operator)
    for action in ("cancel", "resume"):
        path = f"/runs/{run}/{action}"
        assert (await operator.post(path)).status_code == 403
        assert (await operator.post(path, data={"form_key": key[:-2] + "AA"})).status_code == 403
        for header in ({"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
            assert (await operator.post(path, data={"form_key": key}, headers=header)).status_code == 403


@pytest.mark.timeout(1500)
async def test_a_run_is_followed_cancelled_and_resumed_in_a_browser(browser: Any, tmp_path: Path) -> None:
    recipe = loop.write_recipe(tmp_path, training=TRAINING)
    untouched, out = tmp_path / "untouched", tmp_path / "out"
    done = await asyncio.to_thread(loop.tessera, "run", recipe, "--out", untouched, "--seed", 5)
    assert done.returncode == 0, done.stderr
    last = loop.summary(untouched)["rounds"][-1]
    async with stack(tmp_path) as (base, token, exported), httpx.AsyncClient(base_url=base, timeout=60) as operator:
        entered = await operator.post("/sign-in", data={"token": token})
        assert entered.status_code == 303
        page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
        page.set_default_timeout(1000 * loop.TIMEOUT)
        await page.goto(f"{base}/sign-in#{token}")
        await page.wait_for_selector("text=No runs yet")

        sent = await asyncio.to_thread(loop.tessera, "submit", recipe, "--seed", 5, **exported)
        assert sent.returncode == 0, sent.stderr
        run = sent.stdout.strip()
        # The list shows it without a reload.
        await page.click(f"text={run}")
        await page.wait_for_selector("text=running")
        await page.evaluate("window.stayed = true")

        told = Told(operator, run)
        async with told.listening():
            first = await told.wait(lambda event: event.get("state") == "running")
            assert first["round"] == 0
            await told.wait(lambda event: event.get("step") == "train")
        # Nobody listens while the round is measured: whoever comes back has missed nothing.
        async with asyncio.timeout(loop.TIMEOUT):
            while "test mIoU" not in (await operator.get(f"/runs/{run}")).text:
                await asyncio.sleep(0.2)
        told.events.clear()
        async with told.listening():
            back = await told.wait(lambda event: "state" in event)
            assert back["measured"]["round"] >= 0
            assert 0 <= back["measured"]["val"] <= 1
            await until(page, "document.querySelectorAll('.chart').length === 2", loop.TIMEOUT)
            await nobody_else_steers(base, run, token, operator)
            busy = await told.wait(
                lambda event: event.get("round", 0) >= 1 and event.get("step") == "train" and event["fraction"] > 0
            )
            assert busy["state"] == "running"
            computing = Computing(tmp_path)
            assert computing.look() > 0.5, "nobody computes"
            await page.click("text=Cancel the run")
            worked = await computing.until_quiet()
            await page.wait_for_selector("text=Resume the run")
            assert await page.inner_text(".state") == "■ cancelled"
            ended = await told.wait(lambda event: event.get("state") == "cancelled")
            print(f"cancelled in round {ended['round']}, {ended['step']}; computed {worked:.2f} s after the click")
            assert worked <= WORK_SECONDS
            assert (await operator.get("/")).text.count("cancelled</span>") >= 1

            await page.click("text=Resume the run")
            await page.wait_for_selector(".state.running, .state.done")
            await page.evaluate("window.stayed = true")
            end = await told.wait(lambda event: event.get("state") == "done")
            await page.wait_for_selector(".state.done")
            assert await page.evaluate("window.stayed")
            for split in ("val", "test"):
                assert end["measured"][split] == last[split]["miou"]
            assert end["measured"]["round"] == last["round"]
            assert f"{last['test']['miou']:.3f}" in await page.inner_text(".tiles")
        await page.context.close()
        watched = await asyncio.to_thread(loop.tessera, "watch", run, "--out", out, **exported)
        assert watched.returncode == 0, watched.stderr
    assert loop.selections(out) == loop.selections(untouched)
    for one, other in zip(loop.summary(out)["rounds"], loop.summary(untouched)["rounds"], strict=True):
        assert one["val"] == other["val"]
        assert one["test"] == other["test"]
