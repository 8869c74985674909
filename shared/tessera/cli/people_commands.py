"""The commands ``tessera people …``: people answer a run's questions in other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.cli.options import Coordinator, RunningStore, StackFolder
from tessera.cli.output import guarded, say

app = typer.Typer(help="Let people answer the questions of a run in another tool.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(help="Name of the run that asks, as tessera status prints it.")]
Format = Annotated[str, typer.Option("--format", help="label-studio or cvat.")]
Images = Annotated[
    str,
    typer.Option(
        help="How the tool gets the images: link (signed addresses of the S3 bucket), inline (in the tasks), upload. "
        "CVAT: upload; none (files); cloud:NUMBER (sync), a storage that the server knows."
    ),
]
Hours = Annotated[float, typer.Option(min=0.01, max=720, help="How long links last (at most 168).")]


@app.command("export-tasks")
@guarded
def export_tasks(
    run: Run,
    to: Annotated[Path, typer.Argument(help="Folder to make. It must be empty or absent.")],
    form: Format = "label-studio",
    count: Annotated[int, typer.Option(min=1, help="Most questions.")] = 1000,
    images: Images = "",
    hours: Hours = 168,
    out: StackFolder = None,
    store: RunningStore = None,
    coordinator: Coordinator = None,
) -> None:
    """Write the questions of a run's open round as tasks of another tool, and keep them for it."""
    from tessera.cli import people

    place = people.RunPlace.of(out, coordinator, store)
    for line in people.export_tasks(place, run, to, people.TaskExport(form, count, images, hours)):
        say(line)


@app.command("import-answers")
@guarded
def import_answers(
    run: Run,
    files: Annotated[list[Path], typer.Argument(help="Files that the tool exported.")],
    form: Format = "label-studio",
    annotator: Annotated[
        list[str] | None,
        typer.Option("--annotator", help="ID=NAME: who a user of the tool is. Repeatable. CVAT: NAME alone."),
    ] = None,
    finished: Annotated[
        bool, typer.Option("--finished", help="CVAT: everything is an answer, also what is not marked done.")
    ] = False,
    out: StackFolder = None,
    coordinator: Coordinator = None,
) -> None:
    """Read answers that people gave in another tool. Each counts once, however often it is read."""
    from tessera.cli import people

    place = people.RunPlace.of(out, coordinator, None)
    for line in people.import_answers(place, run, files, form, annotator or [], finished):
        say(line)


@app.command("sync")
@guarded
def sync(
    tool: Annotated[str, typer.Argument(help="label-studio or cvat.")],
    run: Run,
    url: Annotated[str, typer.Option(help="Address of the tool's server, http://HOST:PORT.")],
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with the token. Default: TESSERA_LABEL_STUDIO_TOKEN or _CVAT_TOKEN."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Questions that the tool has at a time.")] = 200,
    images: Images = "upload",
    hours: Hours = 168,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    annotator: Annotated[str, typer.Option(help="CVAT: who answered in jobs of nobody. Default: cvat.")] = "",
    organization: Annotated[str, typer.Option(help="CVAT: short name of the organization.")] = "",
    images_per_job: Annotated[int, typer.Option(min=1, help="CVAT: images of a job.")] = 10,
    webhook: Annotated[
        str,
        typer.Option(
            help="Label Studio: address at which it reaches --listen, to tell of answers. Default: it is asked."
        ),
    ] = "",
    listen: Annotated[str, typer.Option(help="HOST:PORT where the webhook's calls arrive.")] = "127.0.0.1:8081",
    out: StackFolder = None,
    store: RunningStore = None,
    coordinator: Coordinator = None,
) -> None:
    """Ask the questions of a run in a tool's projects and fetch the answers, until the run ends or Ctrl-C."""
    from tessera.cli import people, people_sync

    place = people.RunPlace.of(out, coordinator, store)
    told = people_sync.Live(
        url,
        token_file,
        count,
        images,
        hours,
        every,
        once,
        annotator=annotator,
        organization=organization,
        images_per_job=images_per_job,
        webhook=webhook,
        listen=listen,
    )
    people_sync.sync(tool, place, run, told)
