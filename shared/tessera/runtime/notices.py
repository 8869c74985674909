"""Tell others of complete rounds and of the ends of runs: on a NATS subject, and by a POST to a webhook.

A webhook is told at least once, and in the order of the run. ``runs/<run>/told.json`` holds how far it was told; it is
written after the telling, so a coordinator that dies in between, or a second one, tells a notice again. Its ``id`` is
the same then. Runs that had ended before anybody was to be told are not told of. Listeners on the subject hear what
happens while they listen.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tessera.errors import TesseraError, Unavailable
from tessera.loop.reducer import CANCELLED, DONE, FAILED
from tessera.loop.summary import quality
from tessera.pb.runs_pb2 import RoundView, RunStatus, RunView
from tessera.runtime import archives, calls, topology
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.seldom import Seldom
from tessera.runtime.settings import Settings

_log = logging.getLogger(__name__)
_ENDED: Final = (DONE, FAILED, CANCELLED)
_LOOK_SECONDS: Final = 1.0
_PAUSES: Final = (2.0, 60.0)
_TIMEOUT_SECONDS: Final = 10.0
_FILE_BYTES: Final = 1 << 16
_AGAIN: Final = (408, 425, 429)
Pictures = Callable[[dict[str, int]], Awaitable[list[RunView]]]
"""Sequences that were seen → the runs that have changed since (`Book.pictures`)."""


@dataclass
class _Told:
    """How far a run was told: its last round, and its last end ("" while it goes on)."""

    round: int = -1
    end: str = ""


@dataclass
class _Due:
    """The notices of a run that are to be told, and when the next try is."""

    notices: list[dict[str, Any]] = field(default_factory=list)
    not_before: float = 0.0
    pause: float = _PAUSES[0]


class Notices:
    """Background work of a coordinator; ``run`` never returns."""

    def __init__(self, messaging: Messaging, store: ObjectStore, settings: Settings) -> None:
        self._messaging, self._store = messaging, store
        self._url = settings.webhook
        self._secret = settings.webhook_secret.get_secret_value().encode() if settings.webhook_secret else b""
        self._told: dict[str, _Told] = {}
        self._due: dict[str, _Due] = {}
        self._seldom = Seldom(_log)
        self._begun = False

    async def run(self, pictures: Pictures) -> None:
        """Look for changes, for ever."""
        seen: dict[str, int] = {}
        while True:
            try:
                await self.look(await pictures(seen))
            except TesseraError as error:
                self._seldom.warning("notices wait", error=str(error))
                seen.clear()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self, views: list[RunView]) -> None:
        """Note what is new in these runs, and tell what is due."""
        for view in views:
            run_id = view.spec.run_id
            known = await self._known(view)
            due = self._due.setdefault(run_id, _Due())
            waiting = {one["id"] for one in due.notices}
            due.notices += [one for one in _fresh(view, known) if one["id"] not in waiting]
        self._begun = True
        now = asyncio.get_running_loop().time()
        for run_id, due in list(self._due.items()):
            if due.notices and due.not_before <= now:
                await self._tell(run_id, due)

    async def _known(self, view: RunView) -> _Told:
        run_id = view.spec.run_id
        if run_id not in self._told:
            data = await self._store.read_key(_key(run_id), _FILE_BYTES) if self._url else None
            if data is not None:
                self._told[run_id] = _Told(**json.loads(data))
            elif not self._begun and (view.status in _ENDED or not self._url):
                last = max((one.round for one in view.rounds if one.complete), default=-1)
                self._told[run_id] = _Told(last, _end(view))
            else:
                self._told[run_id] = _Told()
        return self._told[run_id]

    async def _tell(self, run_id: str, due: _Due) -> None:
        told = self._told[run_id]
        while due.notices:
            notice = due.notices[0]
            body = json.dumps(notice, sort_keys=True, allow_nan=False).encode()
            try:
                if self._url:
                    await asyncio.to_thread(self._post, body)
            except Unavailable as error:
                self._seldom.warning("a webhook waits", run_id, error=str(error))
                due.not_before, due.pause = (
                    asyncio.get_running_loop().time() + due.pause,
                    min(2 * due.pause, _PAUSES[1]),
                )
                return
            await self._messaging.tell(topology.notice_subject(run_id), body)
            due.notices.pop(0)
            due.pause = _PAUSES[0]
            if notice["kind"] == "round":
                told.round = notice["round"]
            else:
                told.end = notice["end"]
            if self._url:
                await self._store.put(_key(run_id), json.dumps(vars(told)).encode(), "application/json")

    def _post(self, body: bytes) -> None:
        """Send a notice; Unavailable where a later try may succeed. A receiver that refuses it is not asked again."""
        headers = {"Content-Type": "application/json", "User-Agent": "tessera"}
        if self._secret:
            headers["X-Tessera-Signature"] = f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310  # http(s), by settings
        try:
            with calls.opener.open(request, timeout=_TIMEOUT_SECONDS):
                return
        except urllib.error.HTTPError as error:
            code = error.code
            error.close()
            if 300 <= code < 500 and code not in _AGAIN:
                _log.error("the webhook refuses a notice; it is not sent again", extra={"status": code})
                return
            raise Unavailable(f"TESSERA_WEBHOOK answers {code}") from None
        except (OSError, ValueError) as error:
            raise Unavailable(f"TESSERA_WEBHOOK does not answer ({type(error).__name__})") from None


def _key(run_id: str) -> str:
    return f"{archives.folder(run_id)}told.json"


def _end(view: RunView) -> str:
    """Return what names an end of a run: it may fail, go on, and end once more."""
    if view.status not in _ENDED:
        return ""
    name = RunStatus.Name(view.status).removeprefix("RUN_STATUS_").lower()
    return f"{name} in round {view.round} {view.step}: {view.message}"[:500]


def _fresh(view: RunView, told: _Told) -> Iterator[dict[str, Any]]:
    """Yield the notices of a run that were not told."""
    run_id, recipe = view.spec.run_id, str(json.loads(view.spec.recipe).get("recipe", ""))
    same = {"run": run_id, "recipe": recipe, "planned_rounds": view.planned_rounds}
    for one in view.rounds:
        if one.complete and one.round > told.round:
            yield {"id": f"{run_id}:round:{one.round}", "kind": "round", **same, **_round(one)}
    end = _end(view)
    if end and end != told.end:
        digest = hashlib.sha256(end.encode()).hexdigest()[:12]
        status = RunStatus.Name(view.status).removeprefix("RUN_STATUS_").lower()
        yield {
            "id": f"{run_id}:end:{digest}",
            "kind": "end",
            **same,
            "status": status,
            "message": view.message,
            "end": end,
        }


def _round(one: RoundView) -> dict[str, Any]:
    cost = one.cost
    return {
        "round": one.round,
        "selection_sha256": one.selection_sha256,
        "cost": {
            "regions": cost.regions,
            "clicks": cost.clicks,
            "seconds": cost.labelling_seconds,
            "measured_clicks": cost.measured_clicks,
            "measured_seconds": cost.measured_seconds,
        },
        **{counts.split: quality(counts) for counts in one.splits},
    }
