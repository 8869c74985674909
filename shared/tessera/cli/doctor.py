"""``tessera doctor``: check everything that a stack needs, one line each."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tessera.cli import weights
from tessera.cli.output import say
from tessera.cli.stack import LOCAL_SETTINGS, STORAGE_BYTES, stack_facts
from tessera.errors import BadInput, TesseraError, Unavailable
from tessera.runtime.redaction import one_line, with_secret

if TYPE_CHECKING:
    from tessera.runtime.messaging import Messaging
    from tessera.runtime.settings import Settings

OK, OPTIONAL, BROKEN = "ok      ", "optional", "broken  "
Result = tuple[str, str, int]
"""State, what was found, exit code."""
FULL = 0.95
LEAST_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Where:
    """Addresses to check; None where none is known. ``local``: a stack with its own NATS server."""

    nats: str | None
    token: str | None
    store: str | None
    coordinator: str | None
    data: Path | None
    folder: Path | None
    local: bool

    @property
    def elsewhere(self) -> bool:
        """Whether NATS and services run elsewhere: this machine needs neither their programs nor their libraries."""
        return self.nats is not None and not self.local

    def settings(self) -> Settings:
        """Return the settings with which the services of this stack run."""
        from tessera.runtime.settings import load

        given: dict[str, Any] = LOCAL_SETTINGS if self.local else {}
        return load(**given, **({"store": self.store} if self.store else {}))


def check_all(
    out: Path | None, data: Path | None, nats: str | None, store: str | None, coordinator: str | None = None
) -> int:
    """Print one line per check; returns 0, 1 (something that was asked for is missing) or 3 (a server is broken)."""
    facts = stack_facts(out)
    if out is not None and not facts:
        raise BadInput(f"--out {out}: holds no stack; give the --out folder of tessera run or tessera up")
    known = os.environ.get("TESSERA_NATS_URL")
    where = Where(
        nats=nats or (with_secret(facts["nats"], known) if facts else known),
        token=facts.get("token") if nats is None else None,
        store=store or facts.get("store") or os.environ.get("TESSERA_STORE"),
        coordinator=coordinator if coordinator and not facts else facts.get("coordinator"),
        data=data,
        folder=Path(facts["folder"]) if facts else None,
        local="token" in facts and nats is None,
    )
    return asyncio.run(_check_all(where))


async def _check_all(where: Where) -> int:
    checks: list[tuple[str, Callable[[], Awaitable[Result]]]] = [
        ("store", lambda: _store(where)),
        ("disk", lambda: _disk(where)),
        ("weights", _weights),
        ("data", lambda: _data(where.data)),
        ("compute", lambda: _compute(where)),
    ]
    worst = await _told("nats-server", lambda: _server(where))
    async with _connected(where) as (messaging, failure):
        broker: list[tuple[str, Callable[[], Awaitable[Result]]]] = [
            ("nats", lambda: _nats(where, messaging, failure)),
            ("topology", lambda: _topology(where, messaging)),
            ("room", lambda: _room(where, messaging)),
            ("coordinator", lambda: _coordinator(where)),
            ("workers", lambda: _workers(where, messaging)),
        ]
        for name, check in broker:
            worst = max(worst, await _told(name, check))
    for name, check in checks:
        worst = max(worst, await _told(name, check))
    return worst


async def _told(name: str, check: Callable[[], Awaitable[Result]]) -> int:
    try:
        state, text, code = await check()
    except TesseraError as error:
        state, text, code = BROKEN, str(error), 1 if error.exit_code == 2 else 3
    except Exception as error:
        state, text, code = BROKEN, f"{type(error).__name__}: {error}", 3
    # One line per check, except where each file is named.
    first, *rest = text.splitlines() or [""]
    say(f"{name:<12} {state} {one_line(first)}")
    for line in rest:
        say(f"{'':<12} {'':<8} {one_line(line)}")
    return code


@contextlib.asynccontextmanager
async def _connected(where: Where) -> AsyncIterator[tuple[Messaging | None, TesseraError | None]]:
    """Yield a connection to NATS, or the reason why there is none."""
    if where.nats is None:
        yield None, None
        return
    from tessera.runtime.messaging import connect

    try:
        messaging = await connect(where.nats, name="tessera doctor", token=where.token)
    except TesseraError as error:
        yield None, error
        return
    try:
        yield messaging, None
    finally:
        await messaging.close()


async def _server(where: Where) -> Result:
    from tessera.cli.stack import nats_server

    try:
        return OK, nats_server(), 0
    except BadInput:
        if not where.elsewhere:
            raise
    return OPTIONAL, "not on this machine: the stack has one of its own", 0


async def _nats(where: Where, messaging: Messaging | None, failure: TesseraError | None) -> Result:
    if where.nats is None:
        return OPTIONAL, "none given (--nats, --out or TESSERA_NATS_URL): tessera run and tessera up start their own", 0
    if messaging is None:
        raise failure or Unavailable("no answer")
    await messaging.check()
    return OK, f"{messaging.url} answers and has JetStream", 0


def _unknown(where: Where) -> Result:
    """Return the line of a check that needs NATS, where there is none."""
    if where.nats is None:
        return OPTIONAL, "not checked: no NATS server is given", 0
    return BROKEN, "not checked: NATS does not answer", 3


async def _topology(where: Where, messaging: Messaging | None) -> Result:
    if messaging is None:
        return _unknown(where)
    from tessera.runtime import catalogue, topology

    verbs = [method.verb for _, method in catalogue.methods().values()]
    found = await topology.faults(messaging, where.settings(), verbs)
    if found:
        remedy = "start the services again: they create missing ones, and name those that they refuse"
        return BROKEN, "\n".join([f"{len(found)} differences; {remedy}", *found]), 3
    return OK, f"streams, buckets and the consumers of {len(verbs)} methods are as the services make them", 0


async def _room(where: Where, messaging: Messaging | None) -> Result:
    """Return whether JetStream can take more: bytes of the account, messages of the job queue, a message per stream."""
    if messaging is None:
        return _unknown(where)
    from tessera.runtime import topology

    stored, (jobs, _) = await messaging.storage(), await messaging.rooms(topology.JOBS)
    limit = stored.limit or (STORAGE_BYTES if where.local else None)
    text = f"JetStream stores {stored.used >> 20} MiB" + (f" of {limit >> 20} MiB" if limit else "")
    text += f", {jobs.used} jobs wait" + (f" of at most {jobs.limit}" if jobs.limit else "")
    if (limit and stored.used > FULL * limit) or (jobs.limit and jobs.used > FULL * jobs.limit):
        return BROKEN, f"{text}: almost full; give it more room, or let workers catch up", 3
    closed = await topology.refusals(messaging, where.settings())
    if closed:
        remedy = "make room on the disk of nats-server and start it again: a stream that has met a full disk stays shut"
        return BROKEN, "\n".join([f"{text}; {remedy}", *closed]), 3
    return OK, text, 0


async def _coordinator(where: Where) -> Result:
    if not where.coordinator:
        return OPTIONAL, "none given (--coordinator, --out or TESSERA_COORDINATOR)", 0
    from tessera.runtime.rpc import is_serving
    from tessera.runtime.runs_client import SERVICE

    if await is_serving(where.coordinator, SERVICE):
        return OK, f"{where.coordinator} serves", 0
    return (
        BROKEN,
        f"{where.coordinator} does not serve; start it with tessera service coordinator, tessera up or tessera resume",
        3,
    )


async def _workers(where: Where, messaging: Messaging | None) -> Result:
    if messaging is None:
        return _unknown(where)
    from tessera.runtime import catalogue
    from tessera.runtime.presence import look

    methods = catalogue.methods()
    wait = where.settings().ack_wait
    found = await asyncio.gather(*(look(messaging, method.verb, wait) for _, method in methods.values()))
    absent = [(name, service) for (name, (service, _)), each in zip(methods.items(), found, strict=True) if each.absent]
    if absent:
        missing = ", ".join(sorted(name for name, _ in absent))
        starts = " or ".join(f"tessera service {service}" for service in sorted({service for _, service in absent}))
        return BROKEN, f"no worker serves {missing}; start {starts}", 3
    return OK, f"each of {len(methods)} methods has a worker", 0


async def _store(where: Where) -> Result:
    url = where.store
    if url is None:
        return OPTIONAL, "none given (--store or TESSERA_STORE): a run keeps its objects in its --out folder", 0
    from tessera.runtime.objects import open_store
    from tessera.runtime.settings import load

    try:
        async with asyncio.timeout(30.0):
            return OK, await open_store(url, load(store=url)).check(), 0
    except TimeoutError:
        raise Unavailable(f"{url}: no answer within 30 s; check its address and the network") from None


async def _disk(where: Where) -> Result:
    """Return the free space where this machine keeps the store, the stack and what compute writes."""
    import tempfile

    import psutil

    settings = where.settings()
    parts = urlsplit(settings.store)
    places = [settings.scratch_dir or Path(tempfile.gettempdir()), settings.cache_dir, where.folder]
    if parts.scheme == "file":
        places.append(Path(unquote(parts.path)))
    free: dict[int, tuple[int, Path]] = {}
    for place in places:
        # A folder that is made later will be on the disk of its nearest existing parent.
        there = next((each for each in (place, *place.parents) if each.exists()), None) if place else None
        if there is not None:
            free[there.stat().st_dev] = (psutil.disk_usage(str(there)).free, there)
    text = ", ".join(f"{left / (1 << 30):.1f} GiB free at {place}" for left, place in sorted(free.values()))
    if any(left < LEAST_FREE_BYTES for left, _ in free.values()):
        return BROKEN, f"{text}; make room: below 1 GiB a run soon waits for it", 3
    return OK, text, 0


async def _weights() -> Result:
    try:
        path = weights.find("imagenet", "deeplabv3plus_mobilenetv2")
    except TesseraError as error:
        asked = any(os.environ.get(name) for name in ("TESSERA_WEIGHTS_DIR", "TESSERA_WEIGHTS_URL"))
        return (
            (BROKEN, str(error), 1) if asked else (OPTIONAL, f"only for recipes with pretrained: imagenet. {error}", 0)
        )
    from tessera.formats.weights import load

    assert path is not None  # noqa: S101 - only "random" has no file
    return OK, f"{path} ({len(load(path.read_bytes(), str(path)))} tensors)", 0


async def _data(folder: Path | None) -> Result:
    if folder is None:
        return OPTIONAL, "none given (--data): street recipes make their own", 0
    from tessera.cli.data import examine

    return OK, await asyncio.to_thread(examine, folder), 0


async def _compute(where: Where) -> Result:
    from tessera.cli.results import versions
    from tessera.runtime.settings import load

    found = versions()
    if "torch" not in found and where.elsewhere:
        return OPTIONAL, "torch is not installed on this machine: the stack's services compute", 0
    if "torch" not in found:
        return BROKEN, "torch is not installed; make setup, or pip install 'tessera-al[cli]'", 1
    settings = load()
    memory = f"{settings.memory_limit() / (1 << 30):.1f} GiB of memory"
    return OK, f"torch {found['torch']}, Python {found['python']}, {settings.core_count()} cores, {memory}", 0
