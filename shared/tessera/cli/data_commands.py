"""The commands ``tessera data …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli.options import RunningStore
from tessera.cli.output import guarded, say

app = typer.Typer(help="Import data sets, or make one.", no_args_is_help=True)


@app.command("import")
@guarded
def data_import(
    layout: Annotated[str, typer.Argument(help="Layout of the folder, or auto to detect it.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    store: RunningStore = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Parameter of the layout: test=half. See docs/data.md. Repeatable."),
    ] = None,
) -> None:
    """Check every file of a data set and put it into the store."""
    from tessera.cli.data import import_folder

    say(import_folder(layout, folder, store, settings or ()))


@app.command("pool")
@guarded
def data_pool(
    kind: Annotated[str, typer.Argument(help="frames, augmented, video, or copy (every image, in the native layout).")],
    source: Annotated[Path, typer.Argument(help="Folder of the source data set, in any known layout.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make. It must be empty or absent.")],
    seed: Annotated[int, typer.Option(help="Seed of the random choice.")] = 0,
    layout: Annotated[str, typer.Option(help="Layout of the source, or auto to detect it.")] = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Parameter of the pool: images=2640. Of the source: source.test=half. Repeatable."),
    ] = None,
) -> None:
    """Make a data set with a chosen redundancy from another one."""
    from tessera.cli.data import pool

    say(pool(kind, source, folder, seed, layout, settings or ()))


@app.command("make")
@guarded
def data_make(
    name: Annotated[str, typer.Argument(help="Name of the data set: street.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make. It must be empty or absent.")],
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Parameter of the scenes: height=180. Repeatable.")
    ] = None,
) -> None:
    """Make the built-in street scenes."""
    from tessera.cli.data import make

    say(make(name, folder, seed, settings or ()))
