"""``tessera export labels``: the answers of a run as files that other tools read."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.cli.processes import write_atomically
from tessera.cli.progress import ProgressBar
from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.formats.exports import AnsweredImage
    from tessera.formats.manifests import DatasetManifest
    from tessera.formats.pseudo_exports import Maker
    from tessera.pb.common_pb2 import ObjectRef
    from tessera.pb.runs_pb2 import RunView
    from tessera.runtime.objects import ObjectStore
    from tessera.runtime.pool_images import PoolImages

_MANIFEST_BYTES = 1 << 30


def labels(out: Path, to: Path, layout: str, store: str | None, pseudo: bool = False, nats: str | None = None) -> str:
    """Write the answers of the run in ``out`` to the new folder ``to``; return a sentence on them.

    ``pseudo``: with the pseudo labels that the last complete round's reported model was trained on.
    """
    from tessera.cli.audit import servers
    from tessera.cli.stack import stack_facts
    from tessera.runtime.objects import open_store
    from tessera.runtime.settings import load

    if pseudo:
        run = run_id(out)
        with servers(stack_of(out, nats), nats, store) as (at, token, objects):
            view, opened = asyncio.run(view_of(run, at, token, objects))
            return asyncio.run(_labels(out, new(to), layout, opened, view))
    url = store or stack_facts(out).get("store") or os.environ.get("TESSERA_STORE")
    if not url:
        raise BadInput(f"{out}: holds no stack; give the store of its run with --store or TESSERA_STORE")
    return asyncio.run(_labels(out, new(to), layout, open_store(url, load(store=url))))


async def _labels(out: Path, to: Path, layout: str, store: ObjectStore, view: RunView | None = None) -> str:
    from tessera.formats import exports, pseudo_exports

    summary, rows = summary_of(out), _rows(out)
    dataset = await _dataset(summary, store)
    made = exports.export_as(layout, dataset)
    made_by_model = None if view is None else await StoredPseudoLabels.of(view, dataset, store)
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["answer_sha256"] or made_by_model is not None:
            by_image.setdefault(str(row["image_id"]), []).append(row)
    if not by_image:
        raise BadInput(f"{out}: none of its {len(rows)} answers has pixels; only provenance could be written")
    items = dataset.by_id("train", [item.image_id for item in dataset.split("train") if item.image_id in by_image])
    count, table = 0, list[Mapping[str, Any]]()
    with ProgressBar(f"exporting {layout}") as bar:
        for done, item in enumerate(items, 1):
            mine = [row for row in by_image[item.image_id] if row["answer_sha256"]]
            crops = await asyncio.gather(*(store.get(_ref(row)) for row in mine))
            picture = await store.get(item.image) if layout != "png" else b""
            answered = await asyncio.to_thread(exports.paint, item, mine, crops)
            if made_by_model is not None:
                answered = await made_by_model.add(answered, by_image[item.image_id])
                table += answered.table
            count += await asyncio.to_thread(write, to, made.image(answered, picture))
            bar.update(done, len(items), "images")
    told = None if made_by_model is None else pseudo_exports.description(made_by_model.maker)
    ended = [*made.end(), ("provenance.json", exports.provenance(summary["run"], dataset, rows, told))]
    if made_by_model is not None:
        ended.append(("regions.csv", pseudo_exports.table(table)))
    count += write(to, ended)
    bare = sum(not row["answer_sha256"] for row in rows)
    note = f"; {bare} answers name classes without pixels, see provenance.json" if bare else ""
    also = "" if made_by_model is None else f" and pseudo labels of round {made_by_model.maker.round}"
    what = f"{len(rows) - bare} answers{also} on {len(items)} images"
    return f"{to}: {what}, {count} files, layout {layout}{note}"


class StoredPseudoLabels:
    """Pseudo labels of a round's training, and what is needed to say where each comes from."""

    def __init__(
        self, pool: PoolImages, maker: Maker, planes: Mapping[str, Mapping[str, ObjectRef]], classes: int
    ) -> None:
        self.maker = maker
        self._pool, self._planes, self._classes = pool, planes, classes

    @classmethod
    async def of(cls, view: RunView, dataset: DatasetManifest, store: ObjectStore) -> StoredPseudoLabels:
        """Read the table of the last complete round; BadInput where its training made no pseudo labels."""
        from tessera.formats import schemas, tables
        from tessera.formats.pseudo_exports import Maker
        from tessera.runtime.pool_images import PoolImages, refs

        complete = [one for one in view.rounds if one.complete]
        if not complete or "pseudo_labels" not in complete[-1].extras:
            raise BadInput(
                f"--pseudo: the training of {view.spec.run_id} makes no labels of its own; leave --pseudo out, or "
                "train with mulactseg"
            )
        last = complete[-1]
        table = tables.read(schemas.PLANES, await store.get(last.extras["pseudo_labels"]), "pseudo labels")
        planes: dict[str, dict[str, ObjectRef]] = {}
        for image_id, plane, ref in zip(table["image_id"], table["plane"], refs(table, ""), strict=True):
            planes.setdefault(str(image_id), {})[str(plane)] = ref
        maker = Maker(view.spec.run_id, last.round, last.model.weights.sha256)
        return cls(PoolImages(store, dataset, view.shards), maker, planes, len(dataset.classes))

    async def add(self, answered: AnsweredImage, rows: list[dict[str, Any]]) -> AnsweredImage:
        """Return the image with its pseudo labels; ``rows`` are its answers."""
        from tessera.formats import images, pseudo_exports

        name = answered.item.image_id
        stored = self._planes.get(name, {})
        planes = {
            plane: images.decode_labels(await self._pool.store.get(ref), f"{plane} of the pseudo labels of {name}")
            for plane, ref in stored.items()
        }
        regions = await self._pool.region_map(name)
        return await asyncio.to_thread(pseudo_exports.add, answered, rows, planes, regions, self._classes, self.maker)


def stack_of(out: Path, nats: str | None) -> Path | None:
    """Return the folder of a run if its stack is in it; None for one of ``tessera watch``, or where NATS is given."""
    from tessera.cli.stack import stack_facts

    return out if nats is None and stack_facts(out) else None


def run_id(out: Path) -> str:
    """Return the name of the run in a folder; BadInput where there is none."""
    from tessera.cli import folder

    record = folder.read(out)
    return record.run_id if record is not None else str(summary_of(out)["run"])


async def view_of(run: str, url: str, token: str | None, store_url: str) -> tuple[RunView, ObjectStore]:
    """Return a run as its log tells it, and its store; BadInput where NATS does not know it."""
    from tessera.loop.reducer import RunState, fold
    from tessera.loop.view import objects
    from tessera.loop.view import view as picture
    from tessera.runtime.events import EventLog
    from tessera.runtime.messaging import connect
    from tessera.runtime.objects import open_store
    from tessera.runtime.settings import load

    store = open_store(store_url, load(nats_url=url, store=store_url))
    messaging = await connect(url, name="tessera export", token=token)
    try:
        events = await EventLog(messaging, store).read(run)
    finally:
        await messaging.close()
    if not events:
        raise BadInput(f"run {run}: NATS at {url} does not know it; give the server that it ran on")
    state = fold(RunState(), [event for _, event in events])
    made = picture(state)
    made.shards.extend(objects(state, "shards", 0))  # type: ignore[arg-type]  # of this kind they are shards
    return made, store


def new(folder: Path) -> Path:
    """Return a folder that is to be made; BadInput where something is there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is there already and not an empty folder; name another")
    return folder


def write(folder: Path, files: Iterable[tuple[str, bytes]]) -> int:
    """Write files by name, each whole or not at all; return how many."""
    count = 0
    for name, data in files:
        write_atomically(folder / name, data)
        count += 1
    return count


def summary_of(out: Path) -> dict[str, Any]:
    """Return ``summary.json`` of a run; BadInput where there is none."""
    try:
        found: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
        return found
    except (OSError, ValueError):
        raise BadInput(f"{out}: has no readable summary.json; give the folder of a run with a complete round") from None


def _rows(out: Path) -> list[dict[str, Any]]:
    """Return the answers of all rounds, in the order in which they were given."""
    from tessera.formats import schemas, tables

    try:
        data = (out / "ledger.parquet").read_bytes()
    except OSError as error:
        raise BadInput(f"{out / 'ledger.parquet'}: cannot be read ({error}); resume the run, which writes it") from None
    try:
        table = tables.read(schemas.RUN_PEOPLE_LEDGER, data, "ledger.parquet")
    except BadInput:
        table = tables.read(schemas.RUN_LEDGER, data, "ledger.parquet")
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


async def _dataset(summary: Mapping[str, Any], store: ObjectStore) -> DatasetManifest:
    """Return the data set of a run by name, if it is the one that the run had."""
    from tessera.formats import keys, manifests
    from tessera.runtime.objects import sha256

    told = summary["dataset"]
    name, newest = told["name"], told.get("newest")
    key = newest["manifest"] if newest else keys.dataset_manifest(name)
    data = await store.read_key(key, _MANIFEST_BYTES)
    if data is None or sha256(data) != (newest["sha256"] if newest else told["manifest_sha256"]):
        raise BadInput(f"data set {name}: the store has no {key} of this run; give the store that the run used")
    return manifests.dataset_from_json(data, key)


def _ref(row: Mapping[str, Any]) -> Any:
    from tessera.pb.common_pb2 import ObjectRef

    fields = {part: str(row[f"answer_{part}"]) for part in ("bucket", "key", "sha256", "media_type")}
    return ObjectRef(size=int(row["answer_size"]), **fields)
