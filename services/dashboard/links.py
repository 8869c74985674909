"""Links that were handed out to annotators: who has which, and which were taken back.

One entry for each link, in the bucket of questions under ``link.<id>``; the link itself is not kept. Every dashboard
follows the entries, so that a link that is taken back ends everywhere within moments, with its sessions, and stays so
after a restart.
"""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import asdict, dataclass, replace
from typing import Final

from services.dashboard.sign_in import Person
from tessera.errors import BadInput
from tessera.runtime import topology
from tessera.runtime.messaging import Messaging

_log = logging.getLogger(__name__)
_STREAM: Final = f"KV_{topology.QUESTIONS}"
_SUBJECT: Final = f"$KV.{topology.QUESTIONS}.{topology.LINK}."
_ID: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Link:
    """One link: whose it is, the only run that it answers (empty: every run), and until when."""

    name: str
    run: str
    made: float
    until: float
    revoked: bool = False


class Links:
    """The links that are known; without ``messaging`` (in tests of pages) they are this process's alone."""

    def __init__(self, messaging: Messaging | None = None) -> None:
        self._messaging = messaging
        self._known: dict[str, Link] = {}

    def is_revoked(self, id_: str) -> bool:
        """Return whether a link was taken back; False for one that nobody knows, which its signature vouches for."""
        found = self._known.get(id_)
        return found is not None and found.revoked

    def valid(self) -> list[tuple[str, Link]]:
        """Return the links that still admit somebody, with their ids, the newest first."""
        now = time.time()
        valid = [one for one in self._known.items() if one[1].until > now and not one[1].revoked]
        return sorted(valid, key=lambda one: -one[1].made)

    async def add(self, person: Person) -> None:
        """Note the link of a person before it is shown."""
        await self._put(person.link, Link(person.name, person.run, time.time(), person.until))

    async def revoke(self, id_: str) -> None:
        """Take a link back; its sessions end with it. BadInput for one that is not known."""
        if id_ not in self._known:
            raise BadInput(f"link {id_[:40]!a}: is not among the links; reload the page")
        await self._put(id_, replace(self._known[id_], revoked=True))

    async def load(self) -> int:
        """Read every entry; returns a sequence from which following misses nothing."""
        if self._messaging is None:
            return 0
        position = await self._messaging.position(_STREAM)
        async for batch in self._messaging.batches(_STREAM, f"{_SUBJECT}*"):
            for stored in batch:
                self._take(stored.subject, stored.data)
        return position + 1

    async def follow(self, from_sequence: int) -> None:
        """Follow the entries for ever."""
        if self._messaging is None:
            return
        async for batch in self._messaging.batches(_STREAM, f"{_SUBJECT}*", from_sequence, follow=True):
            for stored in batch:
                self._take(stored.subject, stored.data)

    async def _put(self, id_: str, link: Link) -> None:
        if self._messaging is not None:
            await self._messaging.kv_put(
                topology.QUESTIONS, f"{topology.LINK}.{id_}", json.dumps(asdict(link)).encode()
            )
        self._known[id_] = link

    def _take(self, subject: str, data: bytes) -> None:
        id_ = subject.removeprefix(_SUBJECT)
        try:
            if _ID.fullmatch(id_) and data:
                link = Link(**json.loads(data))
                # What was taken back stays so.
                self._known[id_] = replace(link, revoked=link.revoked or self.is_revoked(id_))
        except (ValueError, TypeError):
            _log.error("an entry of a link is unreadable", extra={"subject": subject})
