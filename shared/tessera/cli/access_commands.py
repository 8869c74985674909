"""The commands about access: tokens of callers, and what each service may do at NATS and in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli.output import guarded, say


@guarded
def token(
    name: Annotated[str, typer.Argument(help="Name of the caller; refusals and logs use it.")],
    role: Annotated[list[str], typer.Option("--role", help="viewer, operator or annotator. Repeatable.")],
    file: Annotated[Path, typer.Option("--file", help="File of callers that the service reads as TESSERA_ACCESS.")],
) -> None:
    """Make a token for a caller and print it. The file gets its hash; a running service reads it at the next call."""
    from tessera.cli.access import add

    say(add(name, role, file))


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(token)
