"""The ``tessera`` command. Every command imports what it needs when it runs, so that ``--help`` is immediate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli import data_commands
from tessera.cli.options import Coordinator, Data, Nats, Recipe, Replicas, Seed, Set, Store
from tessera.cli.output import guarded, say

app = typer.Typer(
    name="tessera",
    help="Active learning for semantic segmentation: which regions to label next, asked, answered, trained, measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
dlq_app = typer.Typer(help="Look at jobs that ended without a result, and give them another try.", no_args_is_help=True)
app.add_typer(data_commands.app, name="data")
app.add_typer(dlq_app, name="dlq")


@app.command()
@guarded
def run(
    recipe: Recipe,
    data: Data = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for results; default: runs/RUN.")] = None,
    seed: Seed = 0,
    settings: Set = None,
    replicas: Replicas = None,
    nats: Nats = None,
    store: Store = None,
) -> None:
    """Run the whole loop; starts locally what is not given. The same command again continues an interrupted run."""
    from tessera.cli import run as runner
    from tessera.cli.finished import report
    from tessera.cli.stack import replicas_from

    request = runner.Request(recipe, data, out, seed, settings or (), replicas_from(replicas or []), nats, store)
    report(runner.run(request))


@app.command()
@guarded
def recipes(
    action: Annotated[str, typer.Argument(help="show, reference, or nothing for the list.")] = "list",
    name: Annotated[
        str, typer.Argument(help="show: a recipe's name, or the path of a YAML file. reference: a place such as score.")
    ] = "",
    settings: Set = None,
) -> None:
    """List the recipes of the project, show a whole one, or print the reference of all that a recipe may say."""
    from tessera.cli import extending
    from tessera.cli import recipes as library
    from tessera.errors import BadInput

    if action == "show" and name:
        import yaml

        shown = library.load(name, settings or ()).model_dump(mode="json")
        say(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip())
    elif action == "reference":
        from tessera.cli.reference import reference

        say(reference(name))
    elif action == "list" and not name:
        names = extending.names()
        width = max(map(len, names), default=0)
        for each in names:
            say(f"{each:<{width}}  {library.described(each)}")
    else:
        raise BadInput(
            "recipes: write `tessera recipes`, `tessera recipes show NAME` or `tessera recipes reference [PLACE]`"
        )


@app.command()
@guarded
def up(
    out: Annotated[Path, typer.Option("--out", help="Folder for the stack's files.")] = Path("stack"),
    replicas: Replicas = None,
    nats: Nats = None,
    store: Store = None,
) -> None:
    """Start NATS (unless given) and every service, and keep them running until interrupted."""
    from tessera.cli.remote import up as start
    from tessera.cli.stack import replicas_from

    start(out, replicas_from(replicas or []), nats, store)


@app.command()
@guarded
def submit(
    recipe: Recipe,
    data: Data = None,
    seed: Seed = 0,
    settings: Set = None,
    store: Store = None,
    coordinator: Coordinator = None,
) -> None:
    """Submit a run to a running stack; prints its name."""
    from tessera.cli import remote
    from tessera.cli.run import Request

    say(remote.submit(Request(recipe, data, None, seed, settings or (), {}, None, store), coordinator))


@app.command()
@guarded
def status(
    run: Annotated[str | None, typer.Argument(help="Name of a run; nothing: all of them.")] = None,
    coordinator: Coordinator = None,
) -> None:
    """Show where runs stand."""
    from tessera.cli import remote

    for line in remote.status(run, coordinator):
        say(line)


@app.command()
@guarded
def watch(
    run: Annotated[str, typer.Argument(help="Name of a run.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write results here as they come.")] = None,
    store: Store = None,
    coordinator: Coordinator = None,
) -> None:
    """Follow a run to its end; exits as the run does."""
    from tessera.cli import remote

    remote.watch(run, out, store, coordinator)


@app.command()
@guarded
def resume(
    run: Annotated[str, typer.Argument(help="The --out folder of a run, or the name of a run on a running stack.")],
    coordinator: Coordinator = None,
    nats: Nats = None,
) -> None:
    """Take a run up where it stopped."""
    from tessera.cli import remote
    from tessera.cli import run as runner
    from tessera.cli.finished import report

    if coordinator is None or Path(run).is_dir():
        report(runner.resume(Path(run), nats))
    else:
        say(remote.resume(run, coordinator))


@app.command()
@guarded
def cancel(
    run: Annotated[str, typer.Argument(help="Name of a run.")],
    reason: Annotated[str, typer.Option(help="Kept in the run's log.")] = "",
    coordinator: Coordinator = None,
) -> None:
    """Stop a run; what is finished is kept, and `tessera resume` continues it."""
    from tessera.cli import remote

    say(remote.cancel(run, reason, coordinator))


@app.command()
@guarded
def doctor(
    out: Annotated[Path | None, typer.Option("--out", help="Check the stack of this run or of tessera up.")] = None,
    data: Data = None,
    nats: Nats = None,
    store: Store = None,
    coordinator: Coordinator = None,
) -> None:
    """Check NATS, coordinator, workers, store, disk, weights and data. Exit code 1 or 3 if something is broken."""
    from tessera.cli.doctor import check_all

    raise SystemExit(check_all(out, data, nats, store, coordinator))


@app.command()
@guarded
def service(name: Annotated[str, typer.Argument(help="partitioner, scorer, embedder, selector, trainer, …")]) -> None:
    """Serve one service in the foreground, configured by TESSERA_… variables."""
    from tessera.cli.stack import SERVICES
    from tessera.errors import BadInput

    if name not in SERVICES:
        raise BadInput(f"service {name!r}: unknown; known: {', '.join(SERVICES)}")
    from tessera.runtime.service import main as serve

    serve(name)


@app.command()
@guarded
def advise(
    data: Annotated[Path, typer.Option("--data", help="Folder of a data set of any known layout.")],
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="INITIAL-STEP or INITIAL-STEP-TOTAL in percent of the images: 10-10."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="split=val, pretrained=street, images=1000, domain=narrow. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures and the advice as JSON.")] = False,
) -> None:
    """Say which kind of strategy suits a data set and a budget, and what speaks for and against it."""
    import json

    from tessera.cli.advise import advise as look

    lines, found = look(data, budget, settings or ())
    for line in [json.dumps(found, indent=1)] if as_json else lines:
        say(line)


@app.command()
@guarded
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs (--out).")],
    split: Annotated[str | None, typer.Option(help="val or test, for curve and verdict; default: test.")] = None,
    over: Annotated[
        str | None,
        typer.Option(
            help="Compare at equal cost: percent, regions, images, pixels, clicks, clicks_without_undefined or seconds."
        ),
    ] = None,
) -> None:
    """Compare runs at equal budget: mean curves, paired differences and intervals over seeds."""
    from tessera.cli import compare as comparing

    for line in comparing.lines([comparing.read(folder) for folder in runs], split, over):
        say(line)


@app.command()
@guarded
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for data, runs and the report.")] = Path("demo"),
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Seeds of each method.")] = 2,
    methods: Annotated[str, typer.Option(help="Recipes to compare, parted by commas.")] = "street_random,street_meal",
    settings: Set = None,
) -> None:
    """Compare MEAL with random selection on the built-in street scenes."""
    from tessera.cli.demo import run as run_demo

    run_demo(out, seeds, [name.strip() for name in methods.split(",") if name.strip()], settings or ())


@dlq_app.command("list")
@guarded
def dlq_list(
    nats: Nats = None, out: Annotated[Path | None, typer.Option("--out", help="Folder of a run or stack.")] = None
) -> None:
    """List jobs that ended without a result, with the reason."""
    from tessera.cli.dead import entries

    for line in entries(nats, out):
        say(line)


@dlq_app.command("requeue")
@guarded
def dlq_requeue(
    job_key: Annotated[str, typer.Argument(help="Key of the job as listed, or all.")],
    nats: Nats = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of a run or stack.")] = None,
) -> None:
    """Give a dead job another try, with its attempts counted from zero."""
    from tessera.cli.dead import requeue

    say(requeue(job_key, nats, out))


def main() -> None:
    """Entry point of the ``tessera`` script."""
    app()


if __name__ == "__main__":
    main()
