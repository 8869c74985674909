"""Bodies that no page sends: each is refused with a status and a sentence, and none is an error of the server.

Whether classes that can be read fit the question is for the coordinator to judge.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from dashboard.people import crowd
from dashboard.world import serving, small
from services.dashboard import web

GOOD: dict[str, Any] = {"question": f"{'ab' * 32}.0", "id": "0" * 32, "seconds": 1, "clicks": 1, "classes": [1]}
HALF = "\ud800"


def changed(**changes: Any) -> str:
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not ...})


BODIES = {
    "empty": "",
    "no JSON": "{",
    "no text": b"\xff\xfe\xff",
    "no object": "[1]",
    "nested deeply": "[" * 100_000,
    "no question": changed(question=...),
    "question that is a number": changed(question=7),
    "question that is long": changed(question="a" * 601),
    "half a character in the question": changed(question=HALF),
    "half a character in the drawing": changed(drawing=HALF),
    "half a character under a key": changed(more={HALF: 1}),
    "no id": changed(id=...),
    "empty id": changed(id=""),
    "seconds that are no number": changed(seconds="soon"),
    "seconds that are true": changed(seconds=True),
    "negative seconds": changed(seconds=-1),
    "endless seconds": changed(seconds=float("inf")),
    "seconds without a value": changed(seconds=float("nan")),
    "clicks beyond a day": changed(clicks=10**30),
    "no answer": changed(classes=...),
    "classes of text": changed(classes=["road"]),
    "classes that are no list": changed(classes=3),
    "class beyond 32 bits": changed(classes=[2**40]),
    "half a class": changed(classes=[1.5]),
    "points of text": changed(points="road"),
    "runs without lengths": changed(values=[1]),
    "runs of negative length": changed(values=[1], lengths=[-4]),
}


async def post(client: httpx.AsyncClient, key: str, content: str | bytes) -> httpx.Response:
    headers = {"x-form-key": key, "content-type": "application/json"}
    return await client.post("/api/answer", content=content, headers=headers)


async def test_an_answer_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    world = await small(tmp_path / "store")
    people = await crowd(world, "dominant", 2, (48, 64))
    async with serving(world), world.client() as client:
        key = await world.signed_in(client)
        for name, body in BODIES.items():
            sent = await post(client, key, body)
            assert sent.status_code == 400, f"{name}: {sent.text}"
            said = sent.json()["error"]
            assert said.endswith((".", "page")), name
            assert len(said) < 300, name
            assert not people.answers, name
        assert (await post(client, key, changed())).json()["outcome"] == "counted"


async def test_an_answer_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    world = await small(tmp_path / "store")
    await crowd(world, "dominant", 2, (48, 64))
    async with serving(world), world.client() as client:
        key = await world.signed_in(client)
        sent = await post(client, key, changed(drawing="a" * web.ANSWER_BYTES))
        assert sent.status_code == 413
        assert f"{web.ANSWER_BYTES}" in sent.json()["error"]
