"""Who may do what: signed tokens with a role, sessions in cookies, and proof that a form is ours (CSRF).

A token is ``base64url(JSON) . base64url(HMAC-SHA256)`` under a key that is made from ``TESSERA_HTTP_TOKEN``. So any
number of dashboards with the same token accept each other's links and sessions. The list of links serves to
take one of them back alone (`services.dashboard.links`).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from tessera.errors import BadInput, Unauthenticated
from tessera.runtime.access import Access, Proof, Role, proof_of

OPERATOR: Final = "operator"
ANNOTATOR: Final = "annotator"
VIEWER: Final = "viewer"
DAY_SECONDS: Final = 86_400.0
_SESSION_SECONDS: Final = 12 * 3600.0
_LONGEST_DAYS: Final = 365
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True)
class Person:
    """Who is signed in."""

    name: str
    role: str
    run: str = ""
    """The only run that an annotator answers; empty: every run that waits for people."""
    until: float = 0.0
    """Unix time at which this ends."""
    link: str = ""
    """Id of the link by which this person came; empty: by a token."""
    proof: str = ""
    """Hash of the token in the file of callers by which this person came; empty: by another way."""

    @property
    def operates(self) -> bool:
        """Return whether this person sees runs and may steer them."""
        return self.role == OPERATOR

    @property
    def sees(self) -> bool:
        """Return whether this person sees runs."""
        return self.role in (OPERATOR, VIEWER)

    @property
    def labels(self) -> bool:
        """Return whether this person may answer questions."""
        return self.role in (OPERATOR, ANNOTATOR)


class Door:
    """Makes and checks tokens; ``token`` is the operator's, and ``access`` knows further operators and annotators."""

    def __init__(
        self, token: str, access: Access | None = None, revoked: Callable[[str], bool] = lambda link: False
    ) -> None:
        """``revoked`` tells of the id of a link whether it was taken back."""
        if len(token) < 16:
            raise BadInput(
                "TESSERA_HTTP_TOKEN: is missing or shorter than 16 characters; set a random one, for example from "
                "`openssl rand -hex 24`"
            )
        self._token = token.encode()
        self._access = access
        self._revoked = revoked
        self._key = hmac.digest(self._token, b"tessera dashboard", hashlib.sha256)

    def invite(self, name: str, run: str, days: float) -> str:
        """Return the token of an annotator's link; BadInput as for ``guest``."""
        return self.sign(self.guest(name, run, days))

    def guest(self, name: str, run: str, days: float) -> Person:
        """Return the person of a new link; BadInput for a name or a time that cannot be."""
        if not _NAME.fullmatch(name):
            raise BadInput(f"name {name[:80]!r}: use 1 to 64 letters, digits and . _ @ -, a letter or digit first")
        if not 0 < days <= _LONGEST_DAYS:
            raise BadInput(f"days {days:g}: give a number over 0, up to {_LONGEST_DAYS}")
        return Person(name, ANNOTATOR, run, time.time() + days * DAY_SECONDS, secrets.token_hex(8))

    def admit(self, token: str) -> Person | None:
        """Return the person whom a token names: the operator's, one of the file of callers, or that of a link.

        None for any other.
        """
        if hmac.compare_digest(token.encode(), self._token):
            return Person("operator", OPERATOR, "", time.time() + _SESSION_SECONDS)
        if self._access is not None and self._access.asks:
            with contextlib.suppress(Unauthenticated):
                caller = self._access.caller(Proof(token))
                # The first that the caller has: who answers questions and sees runs as well is an operator here.
                for role in (Role.OPERATOR, Role.ANNOTATOR, Role.VIEWER):
                    if role in caller.roles:
                        return Person(caller.name, str(role), "", time.time() + _SESSION_SECONDS, proof=proof_of(token))
        person = self.read(token)
        # A session is no link: a cookie that leaks cannot be turned into a new session.
        return person if person is not None and person.role == ANNOTATOR else None

    def sign(self, person: Person) -> str:
        """Return the signed text about a person."""
        return self.sealed({"person": asdict(person), "until": person.until})

    def read(self, text: str) -> Person | None:
        """Return the person of a signed text; None where it is not ours, is over, or was taken back.

        Taken back: its link, or the caller's line in the file or the role in that line. Unavailable while the file
        cannot be read.
        """
        found = (self.opened(text) or {}).get("person")
        person = Person(**found) if isinstance(found, dict) else None
        if person is None or (person.link and self._revoked(person.link)):
            return None
        if person.proof:
            caller = self._access.holder(person.proof) if self._access is not None else None
            if caller is None or person.role not in caller.roles:
                return None
        return person

    def sealed(self, facts: Mapping[str, Any]) -> str:
        """Return signed text that holds ``facts``, JSON with the Unix time ``until`` which it is valid."""
        body = _encode(json.dumps(facts, sort_keys=True).encode())
        return f"{body}.{_encode(hmac.digest(self._key, body.encode(), hashlib.sha256))}"

    def opened(self, text: str) -> dict[str, Any] | None:
        """Return the facts of signed text; None where the signature is not ours or the time is over."""
        body, _, seal = text.partition(".")
        try:
            if not hmac.compare_digest(_decode(seal), hmac.digest(self._key, body.encode(), hashlib.sha256)):
                return None
            found: dict[str, Any] = json.loads(_decode(body))
        except (ValueError, binascii.Error):
            return None
        return found if found["until"] > time.time() else None

    def form_key(self, session: str) -> str:
        """Return the proof that a form comes from a page of this session."""
        return _encode(hmac.digest(self._key, b"form " + session.encode(), hashlib.sha256)[:24])

    def is_form_key(self, session: str, given: str) -> bool:
        """Return whether ``given`` is the proof of this session."""
        return hmac.compare_digest(self.form_key(session).encode(), given.encode())


class Pace:
    """A limit on requests: ``burst`` at once and ``rate`` per second after that, for each name."""

    _MOST = 10_000

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, name: str) -> float:
        """Count a request; return 0, or the seconds after which it would be allowed."""
        now = time.monotonic()
        left, seen = self._left.pop(name, (float(self._burst), now))
        left = min(float(self._burst), left + (now - seen) * self._rate)
        if len(self._left) >= self._MOST:
            # The one that was silent for longest; whoever is limited asks often.
            self._left.pop(next(iter(self._left)))
        self._left[name] = (left - 1 if left >= 1 else left, now)
        return 0.0 if left >= 1 else (1 - left) / self._rate

    def give_back(self, name: str) -> None:
        """Count the newest request of ``name`` no more."""
        if name in self._left:
            left, seen = self._left[name]
            self._left[name] = (min(float(self._burst), left + 1), seen)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
