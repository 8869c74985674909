"""Logs: one line per event whatever the names hold, and no secret in any of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from tessera.runtime.settings import load
from tessera.runtime.telemetry import Redactor, configure

SECRETS = {"s3_access_key": "marker-access", "s3_secret_key": "marker-secret", "nats_token": "marker-token"}


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(format: str, *calls: tuple[str, dict[str, object]], **settings: object) -> str:
    stream = io.StringIO()
    configure("scorer", load(log_format=format, **settings), stream)
    for message, extra in calls:
        logging.getLogger("tessera.test").info(message, extra=extra)
    return stream.getvalue()


def test_a_json_line_has_the_fields() -> None:
    line = json.loads(logged("json", ("job done", {"job_key": "ab", "seconds": 1.5, "attempt": 2})))
    assert line["time"].endswith("+00:00")
    del line["time"]
    assert line == {
        "level": "info",
        "service": "scorer",
        "logger": "tessera.test",
        "event": "job done",
        "job_key": "ab",
        "seconds": 1.5,
        "attempt": 2,
    }


@pytest.mark.parametrize("format", ["json", "plain"])
@pytest.mark.parametrize(
    "name", ["a\nINFO forged", "\x1b[31mred\x1b[0m", "a\r\nb", "a\u2028b", "\x00\x07", "\u202eevil"]
)
def test_names_cannot_forge_lines_or_drive_the_terminal(format: str, name: str) -> None:
    text = logged(format, (f"run {name} began", {"run": name}))
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert all(c.isprintable() for c in text[:-1])
    assert len(text.splitlines()) == 1


def test_secrets_are_hidden_wherever_they_are() -> None:
    calls: list[tuple[str, dict[str, object]]] = [
        ("connected with marker-secret", {"detail": "marker-access", "where": {"nested": "marker-token"}}),
        ("connect nats://user:hunter2@host:4222 failed", {"password": "hunter2", "s3_secret": 5}),
        ("GET http://s3/a?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2&b=1", {}),
    ]
    for format in ("json", "plain"):
        text = logged(format, *calls, **SECRETS)
        assert "marker" not in text
        assert "hunter2" not in text
        assert "host:4222" in text


def test_exceptions_are_one_line_in_json_and_absent_for_people() -> None:
    for format, traced in (("json", True), ("plain", False)):
        stream = io.StringIO()
        configure("scorer", load(log_format=format, **SECRETS), stream)
        try:
            raise ValueError("with marker-secret")
        except ValueError:
            logging.getLogger("tessera.test").exception("failed")
        assert stream.getvalue().count("\n") == 1
        assert ("Traceback" in stream.getvalue()) is traced
        assert "marker" not in stream.getvalue()


def test_settings_do_not_show_their_secrets() -> None:
    settings = load(**SECRETS)
    assert "marker" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert set(settings.secrets()) == set(SECRETS.values())


def test_a_very_short_secret_does_not_blank_the_log() -> None:
    assert Redactor(["a", ""]).text("a banana") == "a banana"
