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
        return describe(await runs.submit(spec))
