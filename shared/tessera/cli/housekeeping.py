"""Commands that keep a deployment in order: ``tessera audit``, ``gc`` and ``rebuild``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli.options import Coordinator, Nats, RunningNats, RunningStore, StackFolder, Store
from tessera.cli.output import guarded, say


@guarded
def audit(
    run: Annotated[str | None, typer.Argument(help="Name of a run. Default with --out: the run of the folder.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of a run or stack.")] = None,
    nats: Nats = None,
    store: Store = None,
    coordinator: Coordinator = None,
    same_as: Annotated[str, typer.Option(help="Digest that the results must have.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Audit every run that NATS knows.")] = False,
) -> None:
    """Check log, records, objects, queue and labels of a run. One line per violation; exit code 3 if there is any."""
    from tessera.cli import audit as auditing

    found = auditing.audits(run, out, nats, store, coordinator, same_as, everything)
    for each in found:
        for line in auditing.lines(each, as_json):
            say(line)
    raise SystemExit(auditing.BROKEN if any(each.violations for each in found) else 0)


@guarded
def gc(
    nats: RunningNats = None,
    store: RunningStore = None,
    out: StackFolder = None,
    grace_days: Annotated[float, typer.Option(help="Keep everything younger than this, needed or not.")] = 7.0,
    settle_seconds: Annotated[float, typer.Option(help="Pause between the two steps of removal.")] = 60.0,
    forget: Annotated[
        list[str] | None,
        typer.Option("--forget", help="Give up this ended run: its results are needed no more. Repeatable."),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove these objects. Default: only show them.")] = False,
) -> None:
    """Show or remove objects, records and results that no run, resume or comparison can need."""
    from tessera.cli.garbage import lines

    for line in lines(nats, store, out, grace_days, settle_seconds, delete, forget or ()):
        say(line)


@guarded
def rebuild(store: RunningStore = None, coordinator: Coordinator = None) -> None:
    """Start again every run that the store knows and the coordinator does not, after NATS was lost."""
    from tessera.cli.rebuild import rebuild_all

    for line in rebuild_all(store, coordinator):
        say(line)


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (audit, gc, rebuild):
        app.command()(command)
