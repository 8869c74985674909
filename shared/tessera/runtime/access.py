"""Who may call what: roles, the table of calls, and the file that names callers. For gRPC and HTTP doors alike.

A caller proves itself by a bearer token, or by the certificate of its TLS connection. The file holds one caller in a
line, and of a token only the SHA-256: tokens are 256 random bits, which no dictionary holds, so that a slow hash would
add nothing.

    # name      roles              proof
    alice       operator           sha256:9f86d081884c7d65…
    dashboards  viewer             cn:grafana.example.org
    labels      annotator,viewer   sha256:60303ae22b998861…

``cn:`` and ``san:`` name the common name or an alternative name in the caller's certificate, which the TLS handshake
has verified (TESSERA_GRPC_CLIENT_CERTS). The file is read again when it changes.
"""

from __future__ import annotations

import contextvars
import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tessera.errors import BadInput, Forbidden, Unauthenticated, Unavailable


class Role(enum.StrEnum):
    """What a caller is trusted with."""

    VIEWER = "viewer"
    """Sees runs and their results."""
    ANNOTATOR = "annotator"
    """Answers questions, under its own name; with a second role under any name, as pages and adapters do."""
    OPERATOR = "operator"
    """Submits, stops, resumes and repeats runs, and asks workers for single jobs."""


_SEE: Final = frozenset({Role.VIEWER, Role.OPERATOR})
_ACT: Final = frozenset({Role.OPERATOR})
_ANSWER: Final = frozenset({Role.ANNOTATOR})
_FOLLOW: Final = frozenset(Role)

CALLS: Final[dict[str, frozenset[Role]]] = {
    "tessera.v1.RunsService/GetRun": _SEE,
    "tessera.v1.RunsService/ListRuns": _SEE,
    "tessera.v1.RunsService/WatchRun": _SEE,
    "tessera.v1.RunsService/ListObjects": _SEE,
    "tessera.v1.WorkersService/ListWorkers": _SEE,
    "tessera.v1.RunsService/SubmitRun": _ACT,
    "tessera.v1.RunsService/CancelRun": _ACT,
    "tessera.v1.RunsService/ResumeRun": _ACT,
    "tessera.v1.RunsService/RedoJob": _ACT,
    "tessera.v1.QuestionsService/ListRounds": _FOLLOW,
    "tessera.v1.QuestionsService/GetProgress": _FOLLOW,
    "tessera.v1.QuestionsService/ListQuestions": _FOLLOW,
    "tessera.v1.QuestionsService/NextQuestions": _ANSWER,
    "tessera.v1.QuestionsService/RenewLeases": _ANSWER,
    "tessera.v1.QuestionsService/ReleaseQuestions": _ANSWER,
    "tessera.v1.QuestionsService/AnswerQuestion": _ANSWER,
    "tessera.v1.QuestionsService/CorrectAnswer": _ANSWER,
    "tessera.v1.QuestionsService/SkipQuestion": _ANSWER,
    "tessera.v1.QuestionsService/CloseRound": _ACT,
}
"""``package.Service/Method`` to the roles of which a caller needs one. A call that is not here needs an operator: jobs
of workers, and whatever is added and forgotten. Health and reflection are open."""

_LINE: Final = re.compile(r"(?P<name>\S+)\s+(?P<roles>[a-z,]+)\s+(?P<proof>sha256:[0-9a-f]{64}|(?:cn|san):\S+)")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LONGEST_TOKEN: Final = 1024
_NO_TOKEN: Final = f"sha256:{hashlib.sha256(b'').hexdigest()}"


def roles_for(call: str) -> frozenset[Role]:
    """Return the roles of which a caller of ``package.Service/Method`` needs one."""
    return CALLS.get(call, _ACT)


@dataclass(frozen=True)
class Proof:
    """What a caller showed: a bearer token, and the names in its verified certificate as ``cn:…`` and ``san:…``."""

    token: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Caller:
    """Somebody who is known, by name, with roles."""

    name: str
    roles: frozenset[Role]

    def check(self, call: str) -> None:
        """Raise Forbidden, which names the missing role, unless the caller may do this."""
        self.check_roles(roles_for(call), call)

    def check_roles(self, wanted: frozenset[Role], what: str) -> None:
        """Raise Forbidden unless the caller has one of these roles; for doors that have no entry in the table."""
        if not wanted & self.roles:
            needed = " or ".join(sorted(wanted))
            has = ", ".join(sorted(self.roles))
            raise Forbidden(f"{what}: needs the role {needed}; {self.name} has {has}")

    def check_answers_as(self, annotator: str) -> None:
        """Raise Forbidden for an annotator that answers under another name. A page has a further role."""
        if self.roles == {Role.ANNOTATOR} and annotator != self.name:
            raise Forbidden(
                f"annotator {annotator[:80]!a}: {self.name} answers under its own name; a page that answers for others "
                "needs the role viewer or operator too"
            )


ANYONE: Final = Caller("anyone", frozenset(Role))
"""Whoever calls a service that asks nobody who they are."""
CALLING: Final = contextvars.ContextVar("tessera.caller", default=ANYONE)
"""Who makes the call that is being answered; doors set it, for handlers that have to know."""


class Access:
    """The callers of one service. Without a file, everybody may do everything."""

    def __init__(self, path: Path | None) -> None:
        """Read the file; BadInput names a line that is wrong."""
        self._path = path
        self._read: tuple[int, ...] = ()
        self._callers: dict[str, Caller] = {}
        if path is not None:
            self._refresh(path)

    @property
    def asks(self) -> bool:
        """Return whether callers have to prove who they are."""
        return self._path is not None

    def caller(self, proof: Proof) -> Caller:
        """Return who this is; Unauthenticated if nobody known.

        Unavailable while the file cannot be read: a change that was meant to take a right away must not be passed over.
        """
        if self._path is None:
            return ANYONE
        self._renew(self._path)
        found = self._holder(proof_of(proof.token)) if proof.token else None
        for name in proof.names:
            found = found or self._callers.get(name)
        if found is None:
            what = "the token is not known" if proof.token else "no token"
            if proof.names:
                what += f"; the certificate of {', '.join(proof.names)} is not known either"
            raise Unauthenticated(
                f"{what} here; set TESSERA_TOKEN or TESSERA_TOKEN_FILE to a token that tessera token has made for this "
                "service"
            )
        return found

    def holder(self, proof: str) -> Caller | None:
        """Return who has a proof now, written as in the file (``sha256:…``); None for one that was taken out.

        For whoever was admitted earlier. Unavailable while the file cannot be read.
        """
        if self._path is None:
            return None
        self._renew(self._path)
        return self._holder(proof)

    def check(self, call: str, proof: Proof) -> Caller:
        """Return the caller if it may do this, and set ``CALLING``; Unauthenticated or Forbidden otherwise."""
        found = self.caller(proof)
        found.check(call)
        CALLING.set(found)
        return found

    def _holder(self, shown: str) -> Caller | None:
        """Find the holder of a hashed token in a time that does not depend on how much of it is right."""
        found = None
        for proof, caller in self._callers.items():
            if hmac.compare_digest(proof, shown):
                found = caller
        return found

    def _renew(self, path: Path) -> None:
        try:
            self._refresh(path)
        except BadInput as error:
            raise Unavailable(f"the callers of this service cannot be read: {error}") from None

    def _refresh(self, path: Path) -> None:
        try:
            state = path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen == self._read:
                return
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"TESSERA_ACCESS {path}: cannot be read ({error}); name a file of callers") from None
        self._callers = dict(_parsed(text, str(path)))
        self._read = seen


def _parsed(text: str, where: str) -> Iterable[tuple[str, Caller]]:
    proofs: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        found = _LINE.fullmatch(content)
        if found is None:
            # Without the line itself: somebody may have written the token in it.
            raise BadInput(f"{where}, line {number}: write NAME ROLE[,ROLE] sha256:HASH, cn:NAME or san:NAME")
        try:
            roles = frozenset(Role(role) for role in found["roles"].split(","))
        except ValueError:
            raise BadInput(f"{where}, line {number}: a role is one of {', '.join(Role)}") from None
        if found["proof"] == _NO_TOKEN:
            raise BadInput(f"{where}, line {number}: is the hash of an empty token; make one with tessera token")
        if found["proof"] in proofs:
            raise BadInput(f"{where}, line {number}: {found['name']} has the proof of another line")
        proofs.add(found["proof"])
        yield found["proof"], Caller(found["name"], roles)


def proof_of(token: str) -> str:
    """Return what the file holds of a token, ``sha256:…``; that of no token for one that is too long to be one."""
    if len(token) > _LONGEST_TOKEN:
        return _NO_TOKEN
    return f"sha256:{hashlib.sha256(token.encode(errors='replace')).hexdigest()}"


def bearer(header: str) -> str:
    """Return the token of an ``Authorization`` header, or an empty string."""
    kind, _, token = header.strip().partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def new_token(name: str, roles: Iterable[str]) -> tuple[str, str]:
    """Return a new token of 256 random bits, and its line for the file; BadInput for a name or role that cannot be."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"name {name[:80]!a}: use 1-64 letters, digits and . _ @ -")
    chosen = sorted(set(roles))
    if not chosen or set(chosen) - set(Role):
        raise BadInput(f"role {', '.join(chosen) or 'none'}: give {', '.join(Role)}")
    token = secrets.token_urlsafe(32)
    return token, f"{name} {','.join(chosen)} {proof_of(token)}"
