"""``tessera doctor --rebuild RUN``: start a run again from the store after its event log was lost."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tessera.cli.remote import address, describe
from tessera.errors import BadInput


def rebuild(run: str, out: Path | None, store: str | None, coordinator: str | None) -> str:
    """Submit the run as it was; its finished jobs are found in the store. Returns the run in one line."""
    from tessera.cli.stack import stack_facts

    facts = stack_facts(out)
    url = store or facts.get("store") or os.environ.get("TESSERA_STORE")
    if not url:
        raise BadInput("doctor --rebuild: give --store URL (or TESSERA_STORE), or --out FOLDER of the stack")
    return asyncio.run(_rebuild(run, url, address(facts.get("coordinator") or coordinator)))


async def _rebuild(run: str, url: str, coordinator: str) -> str:
    from tessera.runtime import run_specs, topology
    from tessera.runtime.objects import open_store
    from tessera.runtime.runs_client import RunsClient
    from tessera.runtime.settings import load

    topology.run_token(run)
    spec = await run_specs.read(open_store(url, load(store=url)), run)
    async with RunsClient(coordinator) as runs:
        return describe((await runs.submit(spec)).run)


def rebuild_all(store: str | None, coordinator: str | None) -> list[str]:
    """Submit every run that the store knows and the coordinator does not; one line for each.

    Archived runs are not among them: a coordinator names them again by itself when it starts. A run that cannot be
    submitted is told, and does not keep the others.
    """
    url = store or os.environ.get("TESSERA_STORE")
    if not url:
        raise BadInput("rebuild: give --store URL (or TESSERA_STORE)")
    return asyncio.run(_rebuild_all(url, address(coordinator)))


async def _rebuild_all(url: str, coordinator: str) -> list[str]:
    from tessera.errors import TesseraError
    from tessera.runtime import archives, run_specs
    from tessera.runtime.objects import open_store
    from tessera.runtime.runs_client import RunsClient
    from tessera.runtime.settings import load

    opened, told = open_store(url, load(store=url)), []
    async with RunsClient(coordinator) as runs:
        known = {view.spec.run_id for view in await runs.list()}
        keys = await opened.list(archives.PREFIX)
        archived = set(archives.runs_of(keys))
        submitted = {key.split("/")[1] for key in keys if archives.spec_key(key.split("/")[1]) == key}
        for run in sorted(submitted - known):
            if run in archived:
                told.append(f"{run}: is archived; start a coordinator again, which names it")
                continue
            try:
                told.append(describe((await runs.submit(await run_specs.read(opened, run))).run))
            except TesseraError as error:
                told.append(f"{run}: not started again: {error}")
    return told or ["every run that the store knows is there"]
