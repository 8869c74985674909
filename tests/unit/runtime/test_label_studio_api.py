"""Calls to a Label Studio that refuses, is slow to wake, or is something else; the real one is in tests/integration."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tessera.errors import BadInput, Forbidden, TesseraError, Unauthenticated, Unavailable
from tessera.runtime.people import label_studio_api
from tessera.runtime.people.label_studio_api import LabelStudioApi
from tessera.runtime.people.label_studio_sync import LabelStudioSync

JWT = "aaaa.bbbb.cccc"
Reply = tuple[int, Any]


@contextlib.contextmanager
def serving(replies: list[Reply]) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """A server that gives these replies in order, and notes method, path and token of the calls."""
    heard: list[tuple[str, str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            heard.append((self.command, self.path, self.headers.get("Authorization", "")))
            status, body = replies.pop(0)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = do

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", heard
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_studio_api, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(label_studio_api, "_AT_THE_END", (0.0, 0.0))


async def test_a_personal_token_is_changed_into_an_access_token_and_again_when_that_ends() -> None:
    replies: list[Reply] = [(200, {"access": "one"}), (200, []), (401, {}), (200, {"access": "two"}), (200, [])]
    with serving(replies) as (url, heard):
        api = LabelStudioApi(url + "/", JWT)
        assert await api.people() == {}
        assert await api.people() == {}
    assert [(path, token) for _, path, token in heard] == [
        ("/api/token/refresh", ""),
        ("/api/users", "Bearer one"),
        ("/api/users", "Bearer one"),
        ("/api/token/refresh", ""),
        ("/api/users", "Bearer two"),
    ]


async def test_a_legacy_token_is_sent_as_it_is() -> None:
    with serving([(200, [{"id": 3, "email": "a@b"}])]) as (url, heard):
        assert await LabelStudioApi(url, "0123456789").people() == {3: "a@b"}
    assert heard[0][2] == "Token 0123456789"


@pytest.mark.parametrize(
    ("replies", "kind", "text"),
    [
        ([(401, {"detail": "legacy"})], Unauthenticated, "the token is not accepted (legacy)"),
        ([(403, {})], Forbidden, "this user may not"),
        ([(404, {"detail": "No Project"})], BadInput, "is not there (No Project); was the project deleted"),
        ([(400, {"detail": "no", "validation_errors": {"label": ["wrong"]}})], BadInput, "refused with 400 (no label"),
        ([(302, {})], BadInput, "refused with 302"),
        ([(200, b"<html>")], BadInput, "the answer is no JSON"),
        ([(503, b"")] * 4, Unavailable, "answers 503"),
    ],
)
async def test_refusals_say_what_to_do(replies: list[Reply], kind: type[TesseraError], text: str) -> None:
    with serving(list(replies)) as (url, heard), pytest.raises(kind) as found:
        await LabelStudioApi(url, "0123456789").people()
    assert text in str(found.value)
    assert "0123456789" not in str(found.value)
    assert len(heard) == len(replies)


async def test_a_server_that_wakes_up_is_asked_again_but_nothing_is_made_twice() -> None:
    with serving([(503, b""), (200, [])]) as (url, heard):
        assert await LabelStudioApi(url, "0123456789").people() == {}
    assert len(heard) == 2
    with serving([(503, b"")]) as (url, heard), pytest.raises(Unavailable):
        await LabelStudioApi(url, "0123456789").add_tasks(1, [{}])
    assert len(heard) == 1
    with pytest.raises(Unavailable, match=r"is http://127\.0\.0\.1:9 the server"):
        await LabelStudioApi("http://127.0.0.1:9", "0123456789").people()


async def test_a_task_that_is_gone_is_removed() -> None:
    with serving([(404, {})]) as (url, heard):
        await LabelStudioApi(url, "0123456789").remove_task(7)
    assert heard[0][:2] == ("DELETE", "/api/tasks/7")


async def test_a_webhook_is_made_once_per_project() -> None:
    ours, another = {"X-Tessera-Sync": "1"}, {"X-Other": "1"}
    known = [
        {"id": 3, "url": "http://a/", "project": 1, "headers": another},
        {"id": 4, "url": "http://gone/", "project": 1, "headers": ours},
        {"id": 5, "url": "http://a/", "project": 2, "headers": ours},
    ]
    replies: list[Reply] = [(200, known), (200, {"id": 4}), (200, known[::2]), (201, {"id": 6})]
    with serving(replies) as (url, heard):
        api = LabelStudioApi(url, "0123456789")
        assert await api.call_back(1, "http://a/", {"Authorization": "Bearer s"}) == 4
        assert await api.call_back(1, "http://a/", {"Authorization": "Bearer s"}) == 6
    assert [(method, path) for method, path, _ in heard] == [
        ("GET", "/api/webhooks/?project=1"),
        ("PATCH", "/api/webhooks/4/"),
        ("GET", "/api/webhooks/?project=1"),
        ("POST", "/api/webhooks/"),
    ]


async def test_a_webhook_is_removed_without_waiting_for_a_server_that_is_away() -> None:
    with serving([(404, {})]) as (url, heard):
        await LabelStudioApi(url, "0123456789").remove_webhook(4)
    assert heard[0][:2] == ("DELETE", "/api/webhooks/4/")
    with serving([(500, b""), (500, b""), (204, b"")]) as (url, heard):
        await LabelStudioApi(url, "0123456789").remove_webhook(4)
    assert len(heard) == 3
    with serving([(503, b"")] * 3) as (url, heard), pytest.raises(Unavailable):
        await LabelStudioApi(url, "0123456789").remove_webhook(4)


async def test_a_webhook_that_stays_keeps_no_other_from_being_removed() -> None:
    with serving([(503, b"")] * 3 + [(204, b"")]) as (url, heard):
        sync = LabelStudioSync(None, LabelStudioApi(url, "0123456789"), "run", None, 1)  # type: ignore[arg-type]
        sync._webhooks = {1: 4, 2: 5}
        with pytest.raises(Unavailable, match="webhooks/4/"):
            await sync.close()
        await sync.close()
    assert [path for _, path, _ in heard] == ["/api/webhooks/4/"] * 3 + ["/api/webhooks/5/"]


@pytest.mark.parametrize("url", ["", "localhost:80", "ftp://a", "http://a:b@c", "http://a?x=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="--url"):
        LabelStudioApi(url, "0123456789")


def test_a_token_that_is_none_is_refused_without_saying_it() -> None:
    with pytest.raises(BadInput) as found:
        LabelStudioApi("http://a", "se cret token")
    assert "cret" not in str(found.value)
