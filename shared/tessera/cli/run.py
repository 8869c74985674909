"""``tessera run`` and ``tessera resume OUT``: recipe, data and seed in, a folder of results out."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.cli import dashboard, data, folder, images, recipes, weights
from tessera.cli.folder import RunFile
from tessera.cli.follow import conclude, follow
from tessera.cli.output import RESUME_HINT, note
from tessera.cli.progress import measured
from tessera.cli.results import Results
from tessera.cli.stack import Stack
from tessera.cli.tracking import Tracker, open_tracker
from tessera.errors import BadInput
from tessera.formats.media import SAFETENSORS
from tessera.pb.runs_pb2 import RUN_STATUS_CANCELLED, RUN_STATUS_DONE, RUN_STATUS_FAILED, RunSpec
from tessera.runtime import series
from tessera.runtime.redaction import with_secret
from tessera.runtime.runs_client import RunsClient
from tessera.runtime.setting_aside import completed
from tessera.runtime.settings import load

if TYPE_CHECKING:
    from tessera.loop.recipe import Recipe
    from tessera.pb.runs_pb2 import RunView
    from tessera.runtime.objects import ObjectStore

MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Request:
    """The user's request."""

    recipe: str
    data: Path | None = None
    out: Path | None = None
    seed: int = 0
    settings: Sequence[str] = ()
    replicas: Mapping[str, int] = field(default_factory=dict)
    nats: str | None = None
    store: str | None = None


def plan(request: Request) -> tuple[Recipe, RunFile]:
    """Validate the recipe, the seed and the data set choice, and name the run; nothing is written or started."""
    if not 0 <= request.seed <= MAX_SEED:
        raise BadInput(f"--seed {request.seed}: give a whole number from 0 to 2^63-1")
    recipe = recipes.load(request.recipe, request.settings)
    source = data.choose(recipe, request.data)
    wanted = RunFile(
        run_id=recipes.run_id(recipe, request.seed, source or "built-in"),
        recipe=recipe.recipe,
        seed=request.seed,
        canonical=recipe.canonical(),
        data=source,
        nats=request.nats,
        # Where the data set is, its images may be read.
        store=images.store_url(request.store) if data.in_store(source) else request.store,
        replicas=dict(request.replicas),
    )
    return recipe, wanted


def run(request: Request) -> Path:
    """Run a recipe to its end; returns the folder with the results."""
    recipe, wanted = plan(request)
    # Checked before anything is started: a missing file is then reported within a second.
    pretrained = weights.find(recipe.model.pretrained, recipe.model.axis.name)
    out = request.out or Path("runs") / wanted.run_id
    with folder.locked(out):
        record = folder.claim(out, wanted)
        work(out, record, recipe, pretrained, request.nats)
    return out


def resume(out: Path, nats: str | None = None, redo: str = "") -> Path:
    """Continue the run in ``out`` where it stopped; return the folder. BadInput when there is no run.

    ``redo`` is the key of a job whose result is computed again first, also where the run is done. ``nats`` is the
    address of its NATS server with the password, which the folder does not keep.
    """
    from tessera.loop.reading import from_canonical

    record = folder.read(out)
    if record is None:
        raise BadInput(f"{out}: no run here to resume ({folder.NAME} is missing); give the --out folder of a run")
    with folder.locked(out):
        recipe = from_canonical(record.canonical)
        pretrained = None
        if record.spec is None:
            pretrained = weights.find(recipe.model.pretrained, recipe.model.axis.name)
        work(out, record, recipe, pretrained, nats, redo)
    return out


def work(
    out: Path, record: RunFile, recipe: Recipe, pretrained: Path | None, nats: str | None = None, redo: str = ""
) -> None:
    """Start the stack in ``out`` and follow the run to its end; ``nats`` is the recorded address with its password."""
    if record.finished and not redo and (out / "summary.json").is_file():
        note(f"{out}: run {record.run_id} is done already")
        return
    tracker = open_tracker(load().tracking)
    record.save(out)
    RESUME_HINT.append(f"tessera resume {shlex.quote(str(out))}")
    address = with_secret(record.nats, nats, os.environ.get("TESSERA_NATS_URL")) if record.nats else None
    stack = Stack(out / "stack", address, record.store, record.replicas)
    # The data is checked before anything is started, so that problems are reported at once.
    spec = asyncio.run(submission(stack, out, record, recipe, pretrained, out / "data"))
    with stack:
        if dashboard.wanted(recipe):
            dashboard.announce(dashboard.serve(stack))
        asyncio.run(drive(stack, out, record, spec, redo, tracker))
    RESUME_HINT.clear()


async def submission(
    stack: Stack, out: Path, record: RunFile, recipe: Recipe, pretrained: Path | None, scratch: Path
) -> RunSpec:
    """Return the spec to submit: that of an earlier start, else a new one, with data and weights stored."""
    spec = record.message()
    if spec is not None and spec.series:
        await _tell_of_growth(open_stack_store(stack), spec)
    if spec is None:
        spec = await prepare(open_stack_store(stack), record, recipe, pretrained, scratch)
        record.keep(spec)
        record.save(out)
    return spec


async def _tell_of_growth(store: ObjectStore, spec: RunSpec) -> None:
    """Say that the data set of a run that goes on has grown since it began."""
    newest = await series.version(store, spec.series)
    if newest is not None and newest.number > spec.version:
        note(
            f"run {spec.run_id} began with version {spec.version} of data set {spec.series}, which has version "
            f"{newest.number} now; it takes up the newest at the start of each round. For a new run that begins with "
            f"it: another --out, and --data dataset:{spec.series}@{newest.number}+"
        )


async def drive(
    stack: Stack, out: Path, record: RunFile, spec: RunSpec, redo: str = "", tracker: Tracker | None = None
) -> tuple[RunView, Mapping[str, Any]]:
    """Submit, follow, and write the results as they come; return the run's last state and its summary."""
    results = Results(out, open_stack_store(stack))

    async def changed(state: RunView) -> list[str]:
        lines = [f"round {entry.round}: {measured(entry)}" for entry in await results.update(state)]
        return lines if tracker is None else [*lines, *await tracker.update(state, results.store)]

    async with RunsClient(stack.coordinator) as runs:
        made = await runs.submit(spec, stack.check)
        view = made.run
        if made.note:
            note(made.note)
        if view.spec != spec:
            # The run that was there already, on an earlier version of its data set.
            record.keep(view.spec)
            record.save(out)
        if view.status in (RUN_STATUS_FAILED, RUN_STATUS_CANCELLED):
            view = await runs.resume(spec.run_id)
        if redo:
            await runs.redo(spec.run_id, redo)
        view = await follow(runs, spec.run_id, changed, stack.check)
        if view.status == RUN_STATUS_DONE:
            view = await runs.with_shards(view)
    await results.update(view)
    conclude(view, RESUME_HINT[-1] if RESUME_HINT else f"tessera resume {shlex.quote(str(out))}")
    summary = await results.finish(view)
    for line in await tracker.keep(out) if tracker is not None else ():
        note(line)
    record.finished = True
    record.save(out)
    return view, summary


async def prepare(
    store: ObjectStore, record: RunFile, recipe: Recipe, pretrained: Path | None, scratch: Path
) -> RunSpec:
    """Put the data set and the weights into the store; return the spec to submit."""
    dataset = await data.into_store(store, recipe, record.data, scratch)
    spec = RunSpec(
        run_id=record.run_id,
        recipe=record.canonical,
        dataset=dataset.message,
        seed=record.seed,
        dataset_name=dataset.name,
        split_sizes=dataset.split_sizes,
        class_names=dataset.class_names,
        shard_images=recipe.runtime.shard_images,
        series=dataset.series,
        version=dataset.version,
    )
    if pretrained is not None:
        content = checked_weights(pretrained, recipe, len(dataset.class_names))
        spec.pretrained.CopyFrom(await store.put_content(content, SAFETENSORS))
    return await completed(store, recipe, spec)


def checked_weights(path: Path, recipe: Recipe, classes: int) -> bytes:
    """Return the bytes of a weights file after a check; BadInput names a file that is unsafe or has no tensors."""
    from tessera.formats.weights import load

    content = path.read_bytes()
    load(content, str(path))
    return content


def open_stack_store(stack: Stack) -> ObjectStore:
    """Return the stack's object store."""
    from tessera.runtime.objects import open_store

    return open_store(stack.store, load(store=stack.store))
