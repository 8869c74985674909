"""Tokens, sessions, form keys and the pace of requests."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from services.dashboard import sign_in
from services.dashboard.sign_in import ANNOTATOR, OPERATOR, Door, Pace
from tessera.errors import BadInput, Unavailable
from tessera.runtime.access import Access, new_token

TOKEN = "0123456789abcdef0123"  # noqa: S105  # of tests


def test_a_link_admits_one_annotator_until_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(TOKEN)
    link = door.invite("ada.l@example", "run-1", 2)
    person = door.admit(link)
    assert person is not None
    assert (person.name, person.role, person.run, person.operates) == ("ada.l@example", ANNOTATOR, "run-1", False)
    assert Door(TOKEN).admit(link) == person, "another dashboard with the same token"
    assert Door(TOKEN + "x").admit(link) is None
    later = time.time() + 2 * 86_400 + 1
    monkeypatch.setattr(sign_in.time, "time", lambda: later)
    assert door.admit(link) is None


def test_nothing_in_a_link_can_be_changed() -> None:
    door = Door(TOKEN)
    body, _, seal = door.invite("ada", "", 1).partition(".")
    facts = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    facts["person"]["role"] = OPERATOR
    forged = base64.urlsafe_b64encode(json.dumps(facts, sort_keys=True).encode()).decode().rstrip("=")
    for text in (
        f"{forged}.{seal}",
        f"{body}.",
        body,
        f"{body}.{seal[:-2]}",
        "",
        ".",
        "é.é",
        f"{body}.{seal}.x",
        "a" * 5000,
    ):
        assert door.admit(text) is None, text[:40]


def test_callers_of_the_file_sign_in_with_their_roles(tmp_path: Path) -> None:
    lines, tokens = [], {}
    for name, roles in (("ann", ["annotator"]), ("bob", ["operator", "viewer"]), ("eve", ["viewer"])):
        tokens[name], line = new_token(name, roles)
        lines.append(line)
    (tmp_path / "callers").write_text("\n".join(lines))
    door = Door(TOKEN, Access(tmp_path / "callers"))
    people = {name: door.admit(token) for name, token in tokens.items()}
    told = [(one.name, one.operates, one.sees, one.labels) for one in people.values() if one]
    assert told == [("ann", False, False, True), ("bob", True, True, True), ("eve", False, True, False)]
    assert people["eve"] is not None
    assert door.admit(door.sign(people["eve"])) is None, "a viewer's session is no link"
    assert door.admit("unknown") is None
    # Links work beside the file.
    assert door.admit(door.invite("ada", "", 1)) is not None


def test_a_session_ends_with_the_line_or_the_role_of_its_caller(tmp_path: Path) -> None:
    callers = tmp_path / "callers"
    made = {name: new_token(name, [role]) for name, role in (("ann", "annotator"), ("bob", "operator"))}
    callers.write_text("\n".join(line for _, line in made.values()))
    door = Door(TOKEN, Access(callers))
    people = {name: door.admit(token) for name, (token, _) in made.items()}
    sessions = {name: door.sign(person) for name, person in people.items() if person is not None}
    assert [door.read(sessions[name]) for name in ("ann", "bob")] == [people["ann"], people["bob"]]
    callers.write_text(made["bob"][1].replace("operator", "viewer,annotator"))
    assert door.read(sessions["ann"]) is None, "the line is gone"
    assert door.read(sessions["bob"]) is None, "the role is gone"
    callers.write_text(made["bob"][1].replace("operator", "operator,viewer"))
    assert door.read(sessions["bob"]) == people["bob"]
    callers.unlink()
    with pytest.raises(Unavailable, match="cannot be read"):
        door.read(sessions["bob"])
    assert Door(TOKEN).read(sessions["bob"]) is None, "a dashboard without a file knows none of its callers"
    operator = door.admit(TOKEN)
    assert operator is not None
    assert door.read(door.sign(operator)) == operator, "who has the dashboard's own token is in no file"


def test_the_operators_session_is_no_link() -> None:
    door = Door(TOKEN)
    person = door.admit(TOKEN)
    assert person is not None
    assert person.operates
    session = door.sign(person)
    assert door.read(session) == person
    assert door.admit(session) is None


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "ä", "a/b", "a\n"])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(BadInput, match="use 1 to 64"):
        Door(TOKEN).invite(name, "", 1)


@pytest.mark.parametrize("days", [0, -1, 366, float("nan")])
def test_days_are_checked(days: float) -> None:
    with pytest.raises(BadInput, match="days"):
        Door(TOKEN).invite("ada", "", days)


def test_a_short_token_is_refused() -> None:
    with pytest.raises(BadInput, match="TESSERA_HTTP_TOKEN"):
        Door("short")


def test_a_form_key_belongs_to_one_session() -> None:
    door = Door(TOKEN)
    assert door.is_form_key("one", door.form_key("one"))
    assert not door.is_form_key("two", door.form_key("one"))
    assert not door.is_form_key("one", "")
    assert not door.is_form_key("one", "é")


def test_pace_lets_a_burst_through_and_then_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(sign_in.time, "monotonic", lambda: clock[0])
    pace = Pace(rate=2.0, burst=3)
    assert [pace.wait("ada") for _ in range(3)] == [0, 0, 0]
    assert pace.wait("ada") == pytest.approx(0.5)
    assert pace.wait("bob") == 0
    clock[0] += 0.5
    assert pace.wait("ada") == 0
    assert pace.wait("ada") > 0
    clock[0] += 60
    assert [pace.wait("ada") for _ in range(3)] == [0, 0, 0]
    pace.give_back("ada")
    pace.give_back("nobody")
    assert pace.wait("ada") == 0
    assert pace.wait("ada") > 0
