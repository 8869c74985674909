"""``tessera audit``: check that a run agrees with its log, its records and its objects."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.errors import BadInput
from tessera.runtime.redaction import one_line, with_secret

if TYPE_CHECKING:
    from tessera.runtime.audit import Audit

BROKEN = 3


def audits(
    run: str | None,
    out: Path | None,
    nats: str | None,
    store: str | None,
    coordinator: str | None = None,
    same_as: str = "",
    everything: bool = False,
) -> list[Audit]:
    """Audit a run, or every run, of the given servers, or of the stack in ``out``, whose NATS is started for this if
    necessary."""
    from tessera.cli import folder

    if everything and (run is not None or same_as):
        raise BadInput("audit: --all stands for every run; leave out the run's name and --same-as")
    if run is None and not everything:
        record = folder.read(out) if out is not None else None
        if record is None:
            raise BadInput(
                "audit: name a run (tessera status lists them), say --all, or give --out with the folder of tessera run"
            )
        run = record.run_id
    with servers(out, nats, store) as (url, token, objects):
        return asyncio.run(_audits(run, url, token, objects, coordinator, same_as))


def lines(found: Audit, as_json: bool = False) -> list[str]:
    """Return one line per violation and one that counts what was checked; with ``as_json``, one JSON object."""
    if as_json:
        return [json.dumps(asdict(found), sort_keys=True)]
    told = [f"{one.invariant} {one_line(one.text)}" for one in found.violations]
    count = f"{len(told)} violations" if told else "no violation"
    end = f"{found.run_id}: {found.status}, {found.jobs} jobs, {found.objects} objects, {count}; digest {found.digest}"
    return [*told, end]


@contextlib.contextmanager
def servers(out: Path | None, nats: str | None, store: str | None) -> Iterator[tuple[str, str | None, str]]:
    """Yield the addresses of NATS and store, and NATS' token: those given, or those of the stack in ``out``."""
    from tessera.cli.stack import reachable

    url, objects = nats or os.environ.get("TESSERA_NATS_URL"), store or os.environ.get("TESSERA_STORE")
    if out is not None and not (nats and store):
        with reachable(out) as facts:
            known = nats or with_secret(facts["nats"], os.environ.get("TESSERA_NATS_URL"))
            yield known, facts.get("token"), store or facts["store"]
        return
    if not url or not objects:
        raise BadInput("audit: give --nats and --store (or TESSERA_NATS_URL and TESSERA_STORE), or --out FOLDER")
    yield url, None, objects


async def _audits(
    run: str | None, url: str, token: str | None, store_url: str, coordinator: str | None, same_as: str
) -> list[Audit]:
    from tessera.runtime.audit import audit as look
    from tessera.runtime.events import EventLog
    from tessera.runtime.messaging import connect
    from tessera.runtime.objects import open_store
    from tessera.runtime.records import Records
    from tessera.runtime.runs_client import RunsClient
    from tessera.runtime.settings import load

    settings = load(store=store_url)
    store = open_store(store_url, settings)
    messaging = await connect(url, name="tessera audit", token=token)
    try:
        log, found = EventLog(messaging, store), []
        for each in await log.run_ids() if run is None else [run]:
            shown = None
            if coordinator:
                async with RunsClient(coordinator) as runs:
                    shown = await runs.get(each)
            records = Records.of(messaging, store, settings)
            found.append(await look(each, log, records, store, shown=shown, same_as=same_as))
        return found
    finally:
        await messaging.close()
