"""Who may call what: tokens, certificates, roles. Real gRPC; the table covers every call of the protocol."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from certificates import make, serving
from tessera.errors import BadInput, Forbidden, Unauthenticated, Unavailable
from tessera.pb import questions_pb2, runs_pb2, workers_pb2
from tessera.pb.common_pb2 import ImageRange
from tessera.runtime import rpc
from tessera.runtime.access import (
    ANYONE,
    CALLING,
    CALLS,
    Access,
    Caller,
    Proof,
    Role,
    bearer,
    new_token,
    proof_of,
    roles_for,
)
from tessera.runtime.people.questions import QuestionCalls
from tessera.runtime.settings import load

SUBMIT, GET, WATCH = (f"tessera.v1.RunsService/{name}" for name in ("SubmitRun", "GetRun", "WatchRun"))
SCORE = "tessera.v1.ScorerService/Score"


def people(path: Path, **roles: str) -> dict[str, str]:
    """Write a file of callers; return their tokens by name."""
    made = {name: new_token(name, given.split(",")) for name, given in roles.items()}
    path.write_text("".join(f"{line}\n" for _, line in made.values()))
    return {name: token for name, (token, _) in made.items()}


def test_every_call_of_the_coordinator_is_in_the_table() -> None:
    services = [
        service
        for module in (runs_pb2, workers_pb2, questions_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    found = {f"{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert found == set(CALLS)


@pytest.mark.parametrize(
    ("call", "roles"),
    [
        (SUBMIT, {"operator"}),
        (GET, {"viewer", "operator"}),
        (SCORE, {"operator"}),
        ("tessera.v1.QuestionsService/AnswerQuestion", {"annotator"}),
        ("tessera.v1.QuestionsService/CloseRound", {"operator"}),
        ("tessera.v1.RunsService/*", {"operator"}),
        ("tessera.v1.NewService/Anything", {"operator"}),
        ("", {"operator"}),
    ],
)
def test_a_call_that_nobody_thought_of_needs_an_operator(call: str, roles: set[str]) -> None:
    assert {role.value for role in roles_for(call)} == roles


def test_without_a_file_anyone_may_do_everything() -> None:
    access = Access(None)
    assert not access.asks
    assert access.check(SUBMIT, Proof()) is ANYONE


def test_a_refusal_names_the_missing_role(tmp_path: Path) -> None:
    tokens = people(tmp_path / "access", eve="viewer", ann="annotator", op="operator,viewer")
    access = Access(tmp_path / "access")
    assert access.check(GET, Proof(tokens["eve"])) == Caller("eve", frozenset({Role.VIEWER}))
    with pytest.raises(Forbidden, match=r"RunsService/SubmitRun: needs the role operator; eve has viewer"):
        access.check(SUBMIT, Proof(tokens["eve"]))
    with pytest.raises(Forbidden, match=r"needs the role operator or viewer; ann has annotator"):
        access.check(GET, Proof(tokens["ann"]))
    with pytest.raises(Forbidden, match=r"needs the role annotator; op has operator, viewer"):
        access.check("tessera.v1.QuestionsService/AnswerQuestion", Proof(tokens["op"]))
    for call in CALLS:
        if Role.OPERATOR in roles_for(call):
            assert access.check(call, Proof(tokens["op"])).name == "op"


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("next", questions_pb2.NextQuestionsRequest),
        ("renew", questions_pb2.RenewLeasesRequest),
        ("release", questions_pb2.ReleaseQuestionsRequest),
        ("answer", questions_pb2.AnswerQuestionRequest),
        ("correct", questions_pb2.CorrectAnswerRequest),
        ("skip", questions_pb2.SkipQuestionRequest),
    ],
)
async def test_an_annotator_answers_under_its_own_name_alone(call: str, kind: Any) -> None:
    """A page has a second role, and answers for those who have signed in there."""
    nobody: Any = None  # no desk: the refusal comes before anything is looked up
    before = CALLING.set(Caller("alice", frozenset({Role.ANNOTATOR})))
    try:
        with pytest.raises(Forbidden, match="alice answers under its own name"):
            await getattr(QuestionCalls(nobody), call)(kind(annotator="bob"))
    finally:
        CALLING.reset(before)
    Caller("alice", frozenset({Role.ANNOTATOR})).check_answers_as("alice")
    Caller("page", frozenset({Role.ANNOTATOR, Role.VIEWER})).check_answers_as("bob")
    ANYONE.check_answers_as("bob")


@pytest.mark.parametrize(
    "change", [str.upper, str.lower, lambda token: token[:-1], lambda token: token + "a", lambda _: "x" * 5000]
)
def test_a_token_that_is_almost_right_is_refused_and_not_shown(tmp_path: Path, change: Any) -> None:
    (token,) = people(tmp_path / "access", op="operator").values()
    wrong = change(token)
    with pytest.raises(Unauthenticated, match=r"the token is not known here; set TESSERA_TOKEN") as caught:
        Access(tmp_path / "access").check(GET, Proof(wrong))
    assert wrong not in str(caught.value)
    with pytest.raises(Unauthenticated, match="no token here"):
        Access(tmp_path / "access").check(GET, Proof())


def test_the_file_holds_no_token_and_two_are_never_equal(tmp_path: Path) -> None:
    tokens = people(tmp_path / "access", **{f"user{number}": "viewer" for number in range(50)})
    text = (tmp_path / "access").read_text()
    assert len(set(tokens.values())) == 50
    for token in tokens.values():
        assert len(token) >= 43
        assert token not in text
        assert proof_of(token) in text


def test_a_change_of_the_file_counts_at_the_next_call(tmp_path: Path) -> None:
    tokens = people(tmp_path / "access", op="operator", eve="viewer")
    access, lines = Access(tmp_path / "access"), (tmp_path / "access").read_text().splitlines()
    assert access.check(SUBMIT, Proof(tokens["op"]))
    (tmp_path / "access").write_text(f"# op has left\n\n{lines[1]}  # since Monday\n")
    with pytest.raises(Unauthenticated):
        access.check(SUBMIT, Proof(tokens["op"]))
    assert access.check(GET, Proof(tokens["eve"]))
    # What cannot be read lets nobody in: it may have been meant to take a right away.
    (tmp_path / "access").write_text("op operator\n")
    with pytest.raises(Unavailable, match=r"cannot be read: .*access, line 1"):
        access.check(GET, Proof(tokens["eve"]))
    (tmp_path / "access").unlink()
    with pytest.raises(Unavailable, match="cannot be read"):
        access.check(GET, Proof(tokens["eve"]))
    (tmp_path / "access").write_text("\n".join(lines))
    assert access.check(SUBMIT, Proof(tokens["op"]))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("op operator", "line 2: write NAME ROLE"),
        ("op operator my-secret-token", "line 2: write NAME ROLE"),
        ("op operator sha256:ABC", "line 2: write NAME ROLE"),
        (f"op boss sha256:{'0' * 64}", "line 2: a role is one of viewer, annotator, operator"),
        (f"op , sha256:{'0' * 64}", "line 2: a role is one of"),
        (f"op operator {proof_of('')}", "line 2: is the hash of an empty token"),
        (f"op operator sha256:{'1' * 64}", "line 2: op has the proof of another line"),
        ("op operator sha256:" + "0" * 64 + " more", "line 2: write NAME ROLE"),
    ],
)
def test_a_wrong_line_is_named_and_not_shown(tmp_path: Path, line: str, named: str) -> None:
    (tmp_path / "access").write_text(f"first viewer sha256:{'1' * 64}\n{line}\n")
    with pytest.raises(BadInput, match=named) as caught:
        Access(tmp_path / "access")
    assert "my-secret-token" not in str(caught.value)


@pytest.mark.parametrize(("name", "roles"), [("", ["viewer"]), ("a b", ["viewer"]), ("a", []), ("a", ["boss"])])
def test_no_token_for_a_name_or_role_that_cannot_be(name: str, roles: list[str]) -> None:
    with pytest.raises(BadInput):
        new_token(name, roles)


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", ""), ("abc", ""), ("", ""), ("Bearer", "")],
)
def test_the_header(header: str, token: str) -> None:
    assert bearer(header) == token


async def _answer(request: ImageRange) -> ImageRange:
    return ImageRange(split=f"{request.split} {CALLING.get().name}")


async def _watch(request: ImageRange) -> AsyncGenerator[ImageRange, None]:
    yield request


@contextlib.asynccontextmanager
async def served(**given: Any) -> AsyncIterator[str]:
    endpoints = [rpc.Unary(path, ImageRange, _answer) for path in (SUBMIT, GET, SCORE)]
    server = rpc.Server([*endpoints, rpc.Stream(WATCH, ImageRange, _watch)], load(**given))
    try:
        yield await server.start()
    finally:
        await server.stop(0)


async def ask(address: str, path: str, **given: Any) -> str:
    """How the call ends: ok, or the reason of its failure."""
    async with rpc.Channel(address, load(**given)) as channel:
        try:
            if path == WATCH:
                async for answer in channel.stream(path, ImageRange(split="x"), ImageRange, 10):
                    assert answer.split == "x"
            else:
                await channel.call(path, ImageRange(split="x"), ImageRange, 10)
        except (Unauthenticated, Forbidden) as error:
            return error.reason
        return "ok"


async def test_tokens_over_grpc(tmp_path: Path) -> None:
    tokens = people(tmp_path / "access", eve="viewer", op="operator")
    (tmp_path / "token").write_text(f"{tokens['op']}\n")
    async with served(access=tmp_path / "access") as address:
        for path in (SUBMIT, GET, SCORE, WATCH):
            assert await ask(address, path) == "unauthenticated"
            assert await ask(address, path, token="wrong") == "unauthenticated"  # noqa: S106
            assert await ask(address, path, token=tokens["op"]) == "ok"
            assert await ask(address, path, token_file=tmp_path / "token") == "ok"
            may = path in (GET, WATCH)
            assert await ask(address, path, token=tokens["eve"]) == ("ok" if may else "forbidden")
        async with rpc.Channel(address, load(token=tokens["eve"])) as channel:
            assert (await channel.call(GET, ImageRange(split="from"), ImageRange, 10)).split == "from eve"
        # Probes carry no token.
        assert await rpc.is_serving(address)
        async with rpc.Channel(address, load(token=tokens["eve"])) as channel:
            refused = await channel.exchange(SUBMIT, b"", 10)
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "forbidden")


async def test_certificates_over_grpc(tmp_path: Path) -> None:
    folder = make(tmp_path / "tls", "server", "alice", "bob", "eve", "carol=DNS:carol.example.org")
    (tmp_path / "access").write_text("alice operator cn:alice\nbob viewer cn:bob\ncarol viewer san:carol.example.org\n")
    given = {**serving(folder, "server"), "grpc_client_certs": True, "access": tmp_path / "access"}
    async with served(**given) as address:
        for name, (get, submit) in {
            "alice": ("ok", "ok"),
            "bob": ("ok", "forbidden"),
            "carol": ("ok", "forbidden"),
            "eve": ("unauthenticated", "unauthenticated"),
        }.items():
            assert await ask(address, GET, **serving(folder, name)) == get
            assert await ask(address, SUBMIT, **serving(folder, name)) == submit


async def test_a_token_never_travels_in_the_clear_to_another_machine() -> None:
    async with rpc.Channel("192.0.2.1:1", load(token="a-token")) as channel:  # noqa: S106
        with pytest.raises(BadInput, match=r"would travel in the clear; set TESSERA_GRPC_CA"):
            await channel.call(GET, ImageRange(), ImageRange, 0.2)
    async with rpc.Channel("192.0.2.1:1", load(token="a-token", insecure=True)) as channel:  # noqa: S106
        with pytest.raises(Unavailable):
            await channel.call(GET, ImageRange(), ImageRange, 0.2)


async def test_the_file_that_holds_the_token_is_named_when_it_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"TESSERA_TOKEN_FILE .*absent: No such file"):
        await ask("127.0.0.1:1", GET, token_file=tmp_path / "absent")


@pytest.mark.parametrize("place", [0, 99, None])
def test_every_hash_is_compared_wherever_the_right_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int | None
) -> None:
    tokens = list(people(tmp_path / "access", **{f"user{number:02}": "viewer" for number in range(100)}).values())
    compared: list[str] = []
    monkeypatch.setattr("hmac.compare_digest", lambda one, other: compared.append(one) or one == other)
    access = Access(tmp_path / "access")
    with contextlib.nullcontext() if place is not None else pytest.raises(Unauthenticated):
        access.caller(Proof(tokens[place] if place is not None else "unknown"))
    assert len(compared) == 100


def test_the_roles_of_the_guide_are_those_of_the_code() -> None:
    guide = (Path(__file__).parents[2] / "SECURITY.md").read_text()
    for role in Role:
        assert re.search(rf"`{role}`", guide), role
