"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[str, typer.Argument(help="Name of a recipe (see tessera recipes), or path of a YAML file.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder of the data set, or dataset:NAME[@VERSION[+]], one in the store. Default: the recipe's.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Change a value of the recipe: training.epochs=10. Repeatable.")
]
Dashboard = Annotated[bool, typer.Option("--dashboard", help="Serve the dashboard and the page for annotators, too.")]
Nats = Annotated[str | None, typer.Option("--nats", help="Address of your NATS server. Default: start a local one.")]
Store = Annotated[
    str | None, typer.Option("--store", help="file:///folder or s3://bucket/prefix. Default: a folder in --out.")
]
Coordinator = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        envvar="TESSERA_COORDINATOR",
        help="Address of the coordinator, host:port. tessera up prints it.",
    ),
]
Replicas = Annotated[
    list[str] | None,
    typer.Option("--replicas", help="Number of processes of a service: scorer=2. 0: you run it yourself. Repeatable."),
]
RunningNats = Annotated[
    str | None, typer.Option("--nats", help="Address of a running NATS server. Default: TESSERA_NATS_URL.")
]
RunningStore = Annotated[
    str | None,
    typer.Option("--store", help="Store of the stack: file:///folder or s3://bucket/prefix. Default: TESSERA_STORE."),
]
StackFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder of a run or of tessera up, instead of addresses.")
]
ServiceName = Annotated[
    str,
    typer.Argument(
        help="partitioner, scorer, embedder, selector, trainer, oracle, evaluator, coordinator or dashboard."
    ),
]
