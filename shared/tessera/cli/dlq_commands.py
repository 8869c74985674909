"""The commands under ``tessera dlq``."""

from __future__ import annotations

from typing import Annotated

import typer

from tessera.cli.options import RunningNats, StackFolder
from tessera.cli.output import guarded, say

app = typer.Typer(help="List jobs that failed, and queue them again.", no_args_is_help=True)


@app.command("list")
@guarded
def listed(
    nats: RunningNats = None,
    out: StackFolder = None,
) -> None:
    """List failed jobs, each with its reason."""
    from tessera.cli.dead import entries

    for line in entries(nats, out):
        say(line)


@app.command("requeue")
@guarded
def requeue(
    job_key: Annotated[str, typer.Argument(help="Key of the job, as tessera dlq list prints it, or all.")],
    nats: RunningNats = None,
    out: StackFolder = None,
) -> None:
    """Queue a failed job again. Its attempts start from zero."""
    from tessera.cli.dead import requeue as queue_again

    say(queue_again(job_key, nats, out))
