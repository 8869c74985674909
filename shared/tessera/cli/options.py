"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[str, typer.Argument(help="Name of a recipe (see: tessera recipes) or path of a YAML file.")]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of a data set; default: what the recipe names.")]
Seed = Annotated[int, typer.Option("--seed", help="Every random choice derives from it.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Replace a value of the recipe: training.epochs=10. Repeatable.")
]
Nats = Annotated[str | None, typer.Option("--nats", help="Address of a NATS server; default: a local one is started.")]
Store = Annotated[
    str | None, typer.Option("--store", help="file:///folder or s3://bucket/prefix; default: a folder in --out.")
]
Coordinator = Annotated[
    str | None,
    typer.Option("--coordinator", envvar="TESSERA_COORDINATOR", help="host:port of the coordinator; see tessera up."),
]
Replicas = Annotated[list[str] | None, typer.Option("--replicas", help="scorer=2: processes of a service. Repeatable.")]
