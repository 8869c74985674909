"""``tessera doctor``: one line each for NATS, store, weights, data and this installation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tessera.cli import weights
from tessera.cli.output import say
from tessera.cli.stack import stack_facts
from tessera.errors import TesseraError, Unavailable
from tessera.runtime.redaction import one_line, with_secret

OK, OPTIONAL, BROKEN = "ok      ", "optional", "broken  "
Check = Callable[[], Coroutine[Any, Any, tuple[str, str, int]]]


def check_all(out: Path | None, data: Path | None, nats: str | None, store: str | None) -> int:
    """Print one line a check; returns 0, 1 (something that was asked for is missing) or 3 (a server is broken)."""
    return asyncio.run(_check_all(out, data, nats, store))


async def _check_all(out: Path | None, data: Path | None, nats: str | None, store: str | None) -> int:
    facts = stack_facts(out)
    known = os.environ.get("TESSERA_NATS_URL")
    nats = nats or (with_secret(facts["nats"], known) if facts else known)
    store = store or facts.get("store") or os.environ.get("TESSERA_STORE")
    checks: list[tuple[str, Check]] = [
        ("nats-server", _server),
        ("nats", lambda: _nats(nats, facts.get("token"))),
        ("store", lambda: _store(store)),
        ("weights", _weights),
        ("data", lambda: _data(data)),
        ("compute", _compute),
    ]
    worst = 0
    for name, check in checks:
        try:
            state, text, code = await check()
        except TesseraError as error:
            state, text, code = BROKEN, str(error), 1 if error.exit_code == 2 else 3
        except Exception as error:
            state, text, code = BROKEN, f"{type(error).__name__}: {error}", 3
        # One line a check, except where each file is named.
        first, *rest = text.splitlines() or [""]
        say(f"{name:<12} {state} {one_line(first)}")
        for line in rest:
            say(f"{'':<12} {'':<8} {one_line(line)}")
        worst = max(worst, code)
    return worst


async def _server() -> tuple[str, str, int]:
    from tessera.cli.stack import nats_server

    return OK, nats_server(), 0


async def _nats(url: str | None, token: str | None) -> tuple[str, str, int]:
    if url is None:
        return OPTIONAL, "none given (--nats or TESSERA_NATS_URL): tessera run and tessera up start their own", 0
    from tessera.runtime.messaging import connect

    messaging = await connect(url, name="tessera doctor", token=token or os.environ.get("TESSERA_NATS_TOKEN"))
    try:
        await messaging.check()
        return OK, f"{url} answers, JetStream is there", 0
    finally:
        await messaging.close()


async def _store(url: str | None) -> tuple[str, str, int]:
    if url is None:
        return OPTIONAL, "none given (--store or TESSERA_STORE): a run keeps its objects in its --out folder", 0
    from tessera.runtime.objects import open_store
    from tessera.runtime.settings import load

    try:
        return OK, await asyncio.wait_for(open_store(url, load(store=url)).check(), 30.0), 0
    except TimeoutError:
        raise Unavailable(f"{url}: no answer within 30 s; check its address and the network") from None


async def _weights() -> tuple[str, str, int]:
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


async def _data(folder: Path | None) -> tuple[str, str, int]:
    if folder is None:
        return OPTIONAL, "none given (--data): street recipes make their own", 0
    from tessera.cli.data import examine

    return OK, await asyncio.to_thread(examine, folder), 0


async def _compute() -> tuple[str, str, int]:
    from tessera.cli.results import versions
    from tessera.runtime.settings import load

    found = versions()
    if "torch" not in found:
        return BROKEN, "torch is not installed; make setup, or pip install 'tessera-al[cli]'", 1
    return OK, f"torch {found['torch']}, Python {found['python']}, {load().core_count()} cores", 0
