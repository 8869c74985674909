"""Every page over HTTP: what it shows, who may see it, and what a foreign page cannot do."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from dashboard.people import KEY, crowd
from dashboard.world import TOKEN, World, serving, small
from tessera.cli import recipes
from tessera.pb import runs_pb2 as pb
from tessera.units import UNITS

PAGES = [
    "/", "/runs/meal-1", "/runs/meal-1?over=clicks", "/runs/meal-1/rounds/0", "/runs/meal-1/rounds/1/images/0",
    "/compare", "/compare?run=meal-1&run=meal-2&over=clicks", "/workers", "/annotators", "/label",
]  # fmt: skip


async def test_every_page_answers_with_the_security_headers(tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world), world.client() as client:
        await world.signed_in(client)
        for path in PAGES:
            page = await client.get(path)
            assert page.status_code == 200, f"{path}: {page.text[-500:]}"
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["cache-control"] == "no-store"
            assert "<script>" not in page.text
            assert not re.search(r"<[^>]* on\w+=", page.text), path
            # Nothing comes from elsewhere.
            assert not re.search(r'(?:src|href)="(?:https?:)?//', page.text), path
            assert page.text.count("<h1") >= 1
            assert page.text.count("<main") == 1, path


async def test_the_run_page_shows_curve_classes_and_rounds(tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world), world.client() as client:
        await world.signed_in(client)
        page = (await client.get("/runs/meal-1?over=clicks")).text
        assert page.count('class="chart"') == 2
        assert "pedestrian" in page
        assert "/runs/meal-1/rounds/2" in page
        assert "test mIoU" in page
        assert "Cancel the run" not in page
        assert "Cancel the run" in (await client.get("/runs/meal-2")).text
        unknown = await client.get("/runs/meal-1?over=clik")
        assert (unknown.status_code, "clicks" in unknown.text) == (400, True)


async def test_curves_are_shown_over_every_cost(tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world), world.client() as client:
        await world.signed_in(client)
        page = (await client.get("/runs/meal-1")).text
        for name in UNITS:
            # Nobody measured the answers of these runs.
            known = not name.startswith("measured_")
            assert (f'"?over={name}"' in page) is known, name
            assert (await client.get(f"/runs/meal-1?over={name}")).status_code == (200 if known else 400), name


@pytest.mark.parametrize(
    ("goal", "words"),
    [(0.99, "allow no forecast"), (0.7, "it is met at about"), (0.35, "It was met at 72 clicks")],
)
async def test_a_goal_is_forecast(tmp_path: Path, goal: float, words: str) -> None:
    world = await small(tmp_path)
    world.views["meal-1"].spec.recipe = recipes.load("street_meal", [f"stop.miou={goal}"]).canonical()
    async with serving(world), world.client() as client:
        await world.signed_in(client)
        page = (await client.get("/runs/meal-1?over=clicks")).text
        assert f"Goal: val mIoU {goal:.3f}" in page
        assert words in page


async def test_a_round_shows_its_pictures_answers_and_prediction(tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world), world.client() as client:
        await world.signed_in(client)
        page = (await client.get("/runs/meal-1/rounds/1")).text
        places = re.findall(r'data-fragment="([^"]+)"', page)
        assert len(places) == 8
        picture = await client.get(places[0])
        assert picture.status_code == 200
        assert "image000008" in picture.text
        assert picture.text.count('class="outline"') == 1
        detail = (await client.get("/runs/meal-1/rounds/1/images/0")).text
        assert "Region 0: building, road" in detail
        assert (await client.get("/runs/meal-1/rounds/1/images/99")).status_code == 404
        assert (await client.get("/runs/meal-1/rounds/7")).status_code == 400


async def test_operators_act_with_a_form_key_only(tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world), world.client() as client:
        key = await world.signed_in(client)
        without = await client.post("/runs/meal-2/cancel")
        assert (without.status_code, world.told) == (403, [])
        done = await client.post("/runs/meal-2/cancel", data={"form_key": key})
        assert (done.status_code, done.headers["location"]) == (303, "/runs/meal-2")
        await client.post("/runs/meal-1/resume", data={"form_key": key})
        assert world.told == [("cancel", "meal-2"), ("resume", "meal-1")]
        for header in ({"sec-fetch-site": "cross-site"}, {"origin": "https://elsewhere.example"}):
            foreign = await client.post("/runs/meal-2/cancel", data={"form_key": key}, headers=header)
            assert foreign.status_code == 403
        assert len(world.told) == 2
        # The key of another session is no key here.
        other = world.door.form_key("another session")
        assert (await client.post("/runs/meal-2/cancel", data={"form_key": other})).status_code == 403


async def test_dead_letters_are_listed_and_queued_again(tmp_path: Path) -> None:
    world = await small(tmp_path)
    envelope = SimpleNamespace(run_id="meal-1", job_key="a" * 64)
    failure = SimpleNamespace(
        job_key="a" * 64, method="Train", attempts=3, reason="out_of_memory", message="<b>no</b>", envelope=envelope
    )
    world.letters.kept = [
        SimpleNamespace(failure=failure, verb="train", time=__import__("datetime").datetime(2026, 1, 2))
    ]
    async with serving(world), world.client() as client:
        key = await world.signed_in(client)
        page = (await client.get("/workers")).text
        assert "out_of_memory" in page
        assert "&lt;b&gt;no&lt;/b&gt;" in page
        assert "none for" in page  # the trainer that is absent
        await client.post("/workers/requeue", data={"form_key": key, "job_key": "a" * 64})
        await client.post("/workers/requeue", data={"form_key": key, "job_key": "all"})
        assert world.letters.requeued == ["a" * 64, None]


async def test_an_annotator_sees_nothing_of_runs(tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world), world.client() as operator, world.client() as client:
        key = await world.signed_in(operator)
        made = await operator.post("/annotators", data={"form_key": key, "name": "ada", "run": "", "days": "7"})
        token = re.search(r"/sign-in#([\w.-]+)", made.text)
        assert token is not None
        mine = await world.signed_in(client, token[1])
        for path in PAGES:
            if path not in ("/", "/label"):
                assert (await client.get(path)).status_code == 403, path
        assert (await client.get("/")).headers["location"] == "/label"
        assert (await client.get("/runs/meal-1/events")).status_code == 403
        assert (await client.post("/runs/meal-2/cancel", data={"form_key": mine})).status_code == 403
        assert (await client.post("/annotators", data={"form_key": mine, "name": "eve"})).status_code == 403
        assert world.told == []


async def test_nobody_comes_in_without_a_token(tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world), world.client() as client:
        for path in PAGES:
            assert (await client.get(path)).headers["location"] == "/sign-in"
        assert (await client.get("/api/rounds")).status_code == 401
        wrong = [await client.post("/sign-in", data={"token": f"guess {number}"}) for number in range(14)]
        assert wrong[0].status_code == 401
        assert wrong[-1].status_code == 429
        assert int(wrong[-1].headers["retry-after"]) >= 1
        forged = world.door.sign(world.door.admit(TOKEN)).rpartition(".")[0] + ".AAAA"  # type: ignore[arg-type]
        client.cookies.set("tessera_session", forged)
        assert (await client.get("/")).headers["location"] == "/sign-in"


async def test_a_team_behind_one_address_signs_in_at_once(tmp_path: Path) -> None:
    world = await small(tmp_path / "store")
    async with serving(world), world.client() as client:
        entered = [await client.post("/sign-in", data={"token": TOKEN}) for _ in range(30)]
        assert {one.status_code for one in entered} == {303}


@pytest.mark.parametrize(
    ("wait", "told"),
    [(0, "unspecified"), (1, "held"), (2, "others"), (3, "closed"), (4, "no_round"), (5, "spent"), (99, "")],
)
async def test_a_page_is_told_why_it_waits_also_by_a_newer_coordinator(tmp_path: Path, wait: int, told: str) -> None:
    world = await small(tmp_path)
    people = await crowd(world, "dominant", 0, (48, 64))
    people.wait = wait
    async with serving(world), world.client() as client:
        headers = {"x-form-key": await world.signed_in(client)}
        found = await client.post("/api/next", json={"round": KEY, "count": 1}, headers=headers)
        assert found.status_code == 200, found.text
        assert found.json()["wait"] == told


async def test_events_tell_of_changes(tmp_path: Path) -> None:
    world = await small(tmp_path)
    async with serving(world) as dashboard, world.client() as client:
        await world.signed_in(client)
        async with client.stream("GET", "/runs/meal-2/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            first = await _event(lines)
            assert (first["state"], first["round"]) == ("running", 2)
            world.views["meal-2"].round = 3
            world.views["meal-2"].status = pb.RUN_STATUS_FAILED
            world.changed.set()
            second = await _event(lines)
            assert (second["state"], second["round"]) == ("failed", 3)
            assert second["version"] != first["version"]
        # The watcher ends with its last listener.
        for _ in range(100):
            if not dashboard.feeds._feeds:
                break
            await asyncio.sleep(0.05)
        assert not dashboard.feeds._feeds


async def _event(lines):
    async with asyncio.timeout(30):
        async for line in lines:
            if line.startswith("data: "):
                return json.loads(line[6:])


async def test_names_are_escaped(tmp_path: Path) -> None:
    world: World = await small(tmp_path)
    await world.add_run("meal-3", pb.RUN_STATUS_FAILED)
    world.views["meal-3"].message = "<img src=x onerror=alert(1)>"
    async with serving(world), world.client() as client:
        await world.signed_in(client)
        for path in ("/", "/runs/meal-3"):
            page = (await client.get(path)).text
            assert "<img src=x" not in page
            assert "&lt;img src=x" in page
