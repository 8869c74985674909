"""The commands ``tessera data …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli.options import Store
from tessera.cli.output import guarded, say

app = typer.Typer(help="Bring in data sets, or make the built-in one.", no_args_is_help=True)


@app.command("import")
@guarded
def data_import(
    layout: Annotated[str, typer.Argument(help="Layout of the folder; auto finds it out.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    store: Store = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Parameter of the layout: test=half. Repeatable; see docs/data.md."),
    ] = None,
) -> None:
    """Check a data set and put it into the store."""
    from tessera.cli.data import import_folder

    say(import_folder(layout, folder, store, settings or ()))


@app.command("pool")
@guarded
def data_pool(
    kind: Annotated[str, typer.Argument(help="frames, augmented, video, or copy (everything, as a native folder).")],
    source: Annotated[Path, typer.Argument(help="Folder of a data set of any known layout.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make; must be empty or absent.")],
    seed: Annotated[int, typer.Option(help="Seed of the choice.")] = 0,
    layout: Annotated[str, typer.Option(help="Layout of the source; auto finds it out.")] = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="images=2640, following=11; source.test=half for the source. Repeatable."),
    ] = None,
) -> None:
    """Make a data set of chosen redundancy from another one."""
    from tessera.cli.data import pool

    say(pool(kind, source, folder, seed, layout, settings or ()))


@app.command("make")
@guarded
def data_make(
    name: Annotated[str, typer.Argument(help="street")],
    folder: Annotated[Path, typer.Argument(help="Folder to make; must be empty or absent.")],
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="height=180 and the like. Repeatable.")] = None,
) -> None:
    """Make the built-in data set of procedural street scenes."""
    from tessera.cli.data import make

    say(make(name, folder, seed, settings or ()))
