"""The commands ``tessera data …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli.options import RunningStore
from tessera.cli.output import guarded, say
from tessera.errors import BadInput

Classes = Annotated[
    Path | None,
    typer.Option("--classes", help="Of images: classes.json, or a text file with one class a line, in index order."),
]
Names = Annotated[
    str | None,
    typer.Option(
        "--names",
        metavar="PATTERN",
        help="Of images: regular expression with the groups sequence and frame or time. Default: SEQUENCE_FRAME.",
    ),
]
Times = Annotated[
    Path | None,
    typer.Option("--times", help="Of images: CSV with the columns image, sequence, time (s), instead of names."),
]
Labels = Annotated[
    str | None,
    typer.Option("--labels", help="Of images: folder or s3:// prefix with label maps of some, the first answers."),
]
Report = Annotated[
    Path | None, typer.Option("--report", help="Of images: file to write, with a line for all that is left out.")
]

app = typer.Typer(help="Import data sets, or make one.", no_args_is_help=True)


@app.command("import")
@guarded
def data_import(
    layout: Annotated[
        str,
        typer.Argument(help="Layout of the folder, auto to detect it, or images: without labels, and not copied."),
    ],
    folder: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Folder of the data set; of images also s3://BUCKET/PREFIX.")
    ],
    store: RunningStore = None,
    classes: Classes = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of images: name of the data set. Default: the folder's name.")
    ] = None,
    names: Names = None,
    times: Times = None,
    labels: Labels = None,
    report: Report = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Parameter of the layout: test=half. See docs/data.md. Repeatable."),
    ] = None,
) -> None:
    """Check every file of a data set and put it into the store. Images without labels stay where they are."""
    from tessera.cli import data, images

    wanted = images.Wanted(folder, store, classes, name, names, times, report, labels)
    if layout == images.LAYOUT:
        if settings:
            raise BadInput("--set: import images has no parameters; see its options")
        say(images.import_images(wanted))
        return
    if wanted != images.Wanted(folder, store):
        raise BadInput(
            "--classes, --name, --names, --times, --labels and --report belong to: tessera data import images SOURCE"
        )
    say(data.import_folder(layout, Path(folder), store, settings or ()))


@app.command("append")
@guarded
def data_append(
    name: Annotated[str, typer.Argument(help="Name of the data set, as it was imported.")],
    source: Annotated[str, typer.Argument(help="Folder or s3://BUCKET/PREFIX; images that are known are skipped.")],
    store: RunningStore = None,
    names: Names = None,
    times: Times = None,
    labels: Labels = None,
    report: Report = None,
) -> None:
    """Add images to a data set of images, as its next version. Runs take it up in their next round."""
    from tessera.cli import images

    say(images.append_images(images.Wanted(source, store, None, name, names, times, report, labels)))


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
