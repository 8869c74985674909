"""Text that is shown holds no secret and no character that controls a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.runtime.redaction import (
    full_address,
    one_line,
    plain,
    printable,
    redacted,
    shown,
    with_secret,
    without_secret,
)

WORDS = st.text(st.characters(exclude_characters='@/"', exclude_categories=("Cc", "Zs", "Zl", "Zp", "Cs")), min_size=4)


@given(user=WORDS, password=WORDS, before=st.text(), after=st.text())
def test_a_password_in_an_address_never_survives(user: str, password: str, before: str, after: str) -> None:
    secret = f"{password}@{password}"  # an @ of its own
    url = f"nats://{user}:{secret}@broker.example:4222"
    assert secret not in redacted(f"{before} {url} {after}".replace(secret, "", before.count(secret)))
    assert "broker.example:4222" in redacted(f"{url} {after}".split(" ")[0])
    assert without_secret(url) == "nats://broker.example:4222"


@pytest.mark.parametrize(
    "text",
    [
        "NATS at nats://broker:4222 answers",
        "file:///home/me@corp/runs/store",
        "write to me@corp.example, or see https://corp.example/help",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text
    assert without_secret(text) == text


@given(st.text())
def test_the_terminal_gets_nothing_that_it_obeys(text: str) -> None:
    assert plain(text).isprintable()
    assert printable(text).replace("\n", "").replace("\t", "").isprintable()
    assert shown(text).replace("\n", "").replace("\t", "").isprintable()
    assert one_line(text).isprintable()
    if text.isprintable():
        assert plain(text) == printable(text) == text


def test_a_stored_address_gets_its_password_back_from_the_same_server_only() -> None:
    kept = "nats://broker:4222"
    assert with_secret(kept, None, "nats://u:pw@other:4222") == kept
    assert with_secret(kept, "nats://u:pw@other:4222", "u:pw@broker:4222") == "nats://u:pw@broker:4222"
    assert full_address("broker:4222") == kept
