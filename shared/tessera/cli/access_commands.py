"""The commands about access: tokens of callers, and what each service may do at NATS and in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli.options import RunningStore
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


@guarded
def nats_permissions(
    account: Annotated[str, typer.Option(help="Account of Tessera's own. Default: the server's default account.")] = "",
) -> None:
    """Print a part for nats-server's configuration: a user for each service, with what it may publish and subscribe."""
    from tessera.runtime.permissions import configuration

    say(configuration(account).rstrip())


@guarded
def bucket_policy(
    store: RunningStore = None,
    principal: Annotated[
        str, typer.Option(help="Name of a service's user at the S3 server, with {service} where the service's name is.")
    ] = "arn:aws:iam:::user/tessera-{service}",
) -> None:
    """Print the bucket policy under which each service reads and writes only what it needs, by S3 users of its own."""
    from tessera.runtime import settings
    from tessera.runtime.bucket_policy import text

    say(text(store or settings.load().store, principal))


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(token)
    app.command()(nats_permissions)
    app.command()(bucket_policy)
