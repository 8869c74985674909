"""The commands ``tessera export …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli.options import RunningNats, RunningStore
from tessera.cli.output import guarded, say

app = typer.Typer(help="Write labels or the model of a run as files for other tools.", no_args_is_help=True)

Out = Annotated[Path, typer.Argument(help="Folder of the run: --out of tessera run or tessera watch.")]
To = Annotated[Path, typer.Argument(help="Folder to make. It must be empty or absent.")]


@app.command("labels")
@guarded
def export_labels(
    out: Out,
    to: To,
    layout: Annotated[str, typer.Option(help="png, coco, cityscapes or mmseg.")] = "png",
    pseudo: Annotated[
        bool, typer.Option("--pseudo", help="Also the pseudo labels of the last round's training, with their source.")
    ] = False,
    nats: RunningNats = None,
    store: RunningStore = None,
) -> None:
    """Write the answers of a run as label maps, with who gave them and when."""
    from tessera.cli.export import labels

    say(labels(out, to, layout, store, pseudo, nats))


@app.command("model")
@guarded
def export_model(
    out: Out,
    to: To,
    round_: Annotated[int | None, typer.Option("--round", help="Default: the last complete round.")] = None,
    format_: Annotated[
        str, typer.Option("--format", help="safetensors: the weights; onnx: the network from image to labels.")
    ] = "safetensors",
    nats: RunningNats = None,
    store: RunningStore = None,
) -> None:
    """Write a run's model, with its architecture, classes and results."""
    from tessera.cli.export_model import model

    say(model(out, to, round_, format_, nats, store))
