"""The ``tessera`` command. Every command imports what it needs when it runs, so that ``--help`` is immediate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli import access_commands, data_commands, dlq_commands, export_commands, housekeeping, people_commands
from tessera.cli.options import (
    Coordinator,
    Dashboard,
    Data,
    Nats,
    Recipe,
    Replicas,
    RunningNats,
    RunningStore,
    Seed,
    ServiceName,
    Set,
    StackFolder,
    Store,
)
from tessera.cli.output import guarded, say

app = typer.Typer(
    name="tessera",
    help="Active learning for semantic segmentation: choose which regions to label next, train on them, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_commands.app, name="data")
app.add_typer(dlq_commands.app, name="dlq")
app.add_typer(export_commands.app, name="export")
app.add_typer(people_commands.app, name="people")
access_commands.register(app)
housekeeping.register(app)


@app.command()
@guarded
def run(
    recipe: Recipe,
    data: Data = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for results. Default: runs/NAME.")] = None,
    seed: Seed = 0,
    settings: Set = None,
    replicas: Replicas = None,
    nats: Nats = None,
    store: Store = None,
) -> None:
    """Run a recipe to its end. Starts the services it needs. Repeat the command to continue an interrupted run."""
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
    """List the recipes of the project, show one whole, or print the reference of everything a recipe may say."""
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
    dashboard: Dashboard = False,
) -> None:
    """Start NATS and every service, and keep them running until Ctrl-C."""
    from tessera.cli.remote import up as start
    from tessera.cli.stack import replicas_from

    start(out, replicas_from(replicas or []), nats, store, dashboard)


@app.command()
@guarded
def submit(
    recipe: Recipe,
    data: Data = None,
    seed: Seed = 0,
    settings: Set = None,
    store: RunningStore = None,
    coordinator: Coordinator = None,
) -> None:
    """Submit a run to a running stack and print its name."""
    from tessera.cli import remote
    from tessera.cli.run import Request

    say(remote.submit(Request(recipe, data, None, seed, settings or (), {}, None, store), coordinator))


@app.command()
@guarded
def status(
    run: Annotated[str | None, typer.Argument(help="Name of a run. Default: all runs.")] = None,
    coordinator: Coordinator = None,
) -> None:
    """Show the state of runs, and what they wait for."""
    from tessera.cli import remote

    for line in remote.status(run, coordinator):
        say(line)


@app.command()
@guarded
def watch(
    run: Annotated[str, typer.Argument(help="Name of a run.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the results here as they come.")] = None,
    store: RunningStore = None,
    coordinator: Coordinator = None,
) -> None:
    """Follow a run to its end. Exit code: 0 done, 2 bad input, 3 failed, 130 cancelled."""
    from tessera.cli import remote

    remote.watch(run, out, store, coordinator)


@app.command()
@guarded
def resume(
    run: Annotated[str, typer.Argument(help="Folder of a run (--out), or name of a run on a running stack.")],
    coordinator: Coordinator = None,
    nats: Nats = None,
) -> None:
    """Continue a run where it stopped."""
    from tessera.cli import remote
    from tessera.cli import run as runner
    from tessera.cli.finished import report

    if coordinator is None or Path(run).is_dir():
        report(runner.resume(Path(run), nats))
    else:
        say(remote.resume(run, coordinator))


@app.command()
@guarded
def redo(
    job_key: Annotated[str, typer.Argument(help="Key of the job, as failures and tessera audit name it.")],
    run: Annotated[str, typer.Option(help="Name of the run. Default: the first that has the job.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Folder of a local run.")] = None,
    nats: Nats = None,
    coordinator: Coordinator = None,
) -> None:
    """Make one result again, and everything built on it if the new result differs."""
    from tessera.cli import remote
    from tessera.cli import run as runner
    from tessera.cli.finished import report

    if out is not None:
        report(runner.resume(out, nats, job_key))
    else:
        say(remote.redo(run, job_key, coordinator))


@app.command()
@guarded
def cancel(
    run: Annotated[str, typer.Argument(help="Name of a run.")],
    reason: Annotated[str, typer.Option(help="Why you stop it. The run keeps it.")] = "",
    coordinator: Coordinator = None,
) -> None:
    """Stop a run. Its results are kept, and tessera resume continues it."""
    from tessera.cli import remote

    say(remote.cancel(run, reason, coordinator))


@app.command()
@guarded
def doctor(
    out: Annotated[Path | None, typer.Option("--out", help="Check the stack of this run or of tessera up.")] = None,
    data: Data = None,
    nats: RunningNats = None,
    store: RunningStore = None,
    coordinator: Coordinator = None,
    rebuild: Annotated[
        str | None, typer.Option("--rebuild", help="Start this run again from the store after its event log was lost.")
    ] = None,
) -> None:
    """Check NATS, coordinator, workers, store, disk, weights and data. Exit code 1 or 3 if something is broken."""
    if rebuild is not None:
        from tessera.cli.rebuild import rebuild as start_again

        say(start_again(rebuild, out, store, coordinator))
        return
    from tessera.cli.doctor import check_all

    raise SystemExit(check_all(out, data, nats, store, coordinator))


@app.command()
@guarded
def topology(nats: RunningNats = None) -> None:
    """Make the streams, buckets and consumers that NATS lacks. Exit code 2 if one differs from its settings."""
    from tessera.cli.topology import make

    say(make(nats))


@app.command()
@guarded
def service(
    name: ServiceName,
    probe: Annotated[
        bool, typer.Option("--probe", help="Only ask the one that runs: exit code 0 if it serves.")
    ] = False,
) -> None:
    """Run one service in the foreground. Its settings are TESSERA_… variables."""
    from tessera.cli.stack import SERVABLE
    from tessera.errors import BadInput

    if name not in SERVABLE:
        raise BadInput(f"service {name!r}: unknown; known: {', '.join(SERVABLE)}")
    if probe:
        from tessera.runtime.probe import serves

        raise SystemExit(0 if serves() else 1)
    from tessera.runtime.service import main as serve

    serve(name)


@app.command()
@guarded
def conformance(
    service: Annotated[str, typer.Argument(help="Kind of service: selector, scorer, trainer, …")],
    target: Annotated[str | None, typer.Option("--target", help="Its gRPC address, host:port.")] = None,
    nats: RunningNats = None,
    store: RunningStore = None,
    out: StackFolder = None,
    algorithm: Annotated[
        list[str] | None,
        typer.Option("--algorithm", help="Its version, METHOD=VERSION. Default: that of Tessera's own. Repeatable."),
    ] = None,
    settings: Set = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run this check alone. Repeatable.")] = None,
    seconds: Annotated[float, typer.Option(help="Longest time that one job may take.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Check whether any implementation of a service keeps the contract. Exit code 1 if it breaks a rule."""
    from tessera.cli import conform

    report = conform.examine(service, target, nats, store, out, algorithm or (), settings or (), only or (), seconds)
    for line in report.lines(as_json):
        say(line)
    raise SystemExit(0 if report.kept else 1)


@app.command()
@guarded
def bridge(
    service: Annotated[str, typer.Argument(help="Kind of service: selector, scorer, trainer, …")],
    to: Annotated[str, typer.Option("--to", help="gRPC address of the program that computes, host:port.")],
    algorithm: Annotated[
        list[str] | None,
        typer.Option("--algorithm", help="Its version, METHOD=VERSION. Default: TESSERA_ALGORITHMS. Repeatable."),
    ] = None,
) -> None:
    """Give a service that speaks gRPC alone the second door: take its jobs from NATS, and have it compute them."""
    from tessera.cli.conform import version
    from tessera.runtime.bridge import main as serve

    serve(service, to, dict(map(version, algorithm or ())))


@app.command()
@guarded
def advise(
    data: Annotated[Path, typer.Option("--data", help="Folder of the data set, in any known layout.")],
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Labelled images in percent, INITIAL-STEP or INITIAL-STEP-TOTAL: 10-10."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="split=val, pretrained=street, images=1000, domain=narrow. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Advise on a strategy for a data set and a budget, with the evidence."""
    import json

    from tessera.cli.advise import advise as look

    lines, found = look(data, budget, settings or ())
    for line in [json.dumps(found, indent=1)] if as_json else lines:
        say(line)


@app.command()
@guarded
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    split: Annotated[str | None, typer.Option(help="Split to compare on: val or test. Default: test.")] = None,
    over: Annotated[
        str | None,
        typer.Option(
            help="Cost to compare at: percent, regions, images, pixels, [measured_]clicks, [measured_]seconds, …"
        ),
    ] = None,
) -> None:
    """Compare runs at equal cost: means over seeds, paired differences, confidence intervals."""
    from tessera.cli import compare as comparing

    for line in comparing.lines([comparing.read(folder) for folder in runs], split, over):
        say(line)


@app.command()
@guarded
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for data, runs and the report.")] = Path("demo"),
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Number of seeds per method.")] = 2,
    methods: Annotated[
        str | None,
        typer.Option(help="Recipes, separated by commas. Default: street_random,street_meal,street_multi_class."),
    ] = None,
    settings: Set = None,
) -> None:
    """Compare three ways to spend an annotator's clicks on the built-in street scenes: masks of random patches, masks
    of patches that MEAL chooses, and the classes of superpixels. Three rounds each, at equal clicks.
    """
    from tessera.cli.demo import METHODS
    from tessera.cli.demo import run as run_demo

    names = METHODS if methods is None else [name.strip() for name in methods.split(",") if name.strip()]
    run_demo(out, seeds, names, settings or ())


def main() -> None:
    """Entry point of the ``tessera`` script."""
    app()


if __name__ == "__main__":
    main()
