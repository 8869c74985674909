"""Somebody with a link to the labelling page, and what their page asks of the page server: HTTP alone."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx

LOOK_SECONDS = 240.0


@contextlib.contextmanager
def signed_in(address: str, token: str) -> Iterator[httpx.Client]:
    """A browser at the page ``http://host:port``, with a session if the token is good for one."""
    with httpx.Client(base_url=address, timeout=60) as client:
        client.post("/sign-in", data={"token": token})
        yield client


def link(address: str, token: str, run: str, name: str = "ada") -> str:
    """The token of the link that an operator makes for an annotator of one run."""
    with signed_in(address, token) as operator:
        key = re.search(r'name="form_key" value="([^"]+)"', operator.get("/annotators").text)
        assert key is not None
        form = {"form_key": key[1], "name": name, "run": run, "days": "30"}
        found = re.search(r"/sign-in#([\w.=-]+)", operator.post("/annotators", data=form).text)
        assert found is not None
    return found[1]


class Annotator:
    """Answers questions of one run, over the page at this address, with the operator's token to get a link."""

    def __init__(self, address: str, token: str, run: str) -> None:
        self.client = httpx.Client(base_url=address, timeout=60)
        self.client.post("/sign-in", data={"token": link(address, token, run)})
        key = re.search(r'name="form-key" content="([^"]+)"', self.client.get("/label").text)
        assert key is not None
        self.client.headers["x-form-key"] = key[1]

    def next(self) -> dict[str, Any] | None:
        """The next question with its image; None where there is none now."""
        found = self.client.post("/api/next", json={"count": 1})
        assert found.status_code == 200, found.text
        if not found.json()["questions"]:
            return None
        (question,) = found.json()["questions"]
        assert self.client.get(question["image"]).content[:3] in (b"\xff\xd8\xff", b"\x89PN")
        return dict(question)

    def waits_for_a_question(self, status: Callable[[], str], seconds: float = LOOK_SECONDS) -> dict[str, Any]:
        """Look once a second, as the page does."""
        deadline = time.monotonic() + seconds
        while (question := self.next()) is None:
            assert time.monotonic() < deadline, status()
            time.sleep(1)
        return question

    def answer(self, question: dict[str, Any]) -> None:
        """Paint the upper half of the box as class 0 and the rest as class 1."""
        y0, x0, y1, x1 = question["box"]
        upper = (y1 - y0) // 2 * (x1 - x0)
        runs = {"values": [0, 1], "lengths": [upper, (y1 - y0) * (x1 - x0) - upper]}
        given = {"question": question["id"], "id": uuid.uuid4().hex, "seconds": 2.5, "clicks": 4, **runs}
        sent = self.client.post("/api/answer", json=given)
        assert sent.json()["outcome"] == "counted", sent.text

    def work(self, done: Callable[[], bool]) -> int:
        """Answer what is asked until ``done``; return how many answers."""
        count, deadline = 0, time.monotonic() + 560
        while True:
            assert time.monotonic() < deadline, "no end"
            question = self.next()
            if question is not None:
                self.answer(question)
                count += 1
            elif done():
                return count
            else:
                time.sleep(1)
