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
    from tessera.formats.manifests import DatasetManifest
    from tessera.runtime.objects import ObjectStore

_MANIFEST_BYTES = 1 << 30


def labels(out: Path, to: Path, layout: str, store: str | None) -> str:
    """Write the answers of the run in ``out`` to the new folder ``to``; return a sentence on them."""
    from tessera.cli.stack import stack_facts
    from tessera.runtime.objects import open_store
    from tessera.runtime.settings import load

    url = store or stack_facts(out).get("store") or os.environ.get("TESSERA_STORE")
    if not url:
        raise BadInput(f"{out}: holds no stack; give the store of its run with --store or TESSERA_STORE")
    return asyncio.run(_labels(out, new(to), layout, open_store(url, load(store=url))))


async def _labels(out: Path, to: Path, layout: str, store: ObjectStore) -> str:
    from tessera.formats import exports

    summary, rows = summary_of(out), _rows(out)
    dataset = await _dataset(summary, store)
    made = exports.export_as(layout, dataset)
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["answer_sha256"]:
            by_image.setdefault(str(row["image_id"]), []).append(row)
    if not by_image:
        raise BadInput(f"{out}: none of its {len(rows)} answers has pixels; only provenance could be written")
    items = dataset.by_id("train", [item.image_id for item in dataset.split("train") if item.image_id in by_image])
    count = 0
    with ProgressBar(f"exporting {layout}") as bar:
        for done, item in enumerate(items, 1):
            mine = by_image[item.image_id]
            crops = await asyncio.gather(*(store.get(_ref(row)) for row in mine))
            picture = await store.get(item.image) if layout != "png" else b""
            answered = await asyncio.to_thread(exports.paint, item, mine, crops)
            count += await asyncio.to_thread(write, to, made.image(answered, picture))
            bar.update(done, len(items), "images")
    ended = [*made.end(), ("provenance.json", exports.provenance(summary["run"], dataset, rows))]
    count += write(to, ended)
    bare = sum(not row["answer_sha256"] for row in rows)
    note = f"; {bare} answers name classes without pixels, see provenance.json" if bare else ""
    return f"{to}: {len(rows) - bare} answers on {len(items)} images, {count} files, layout {layout}{note}"


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

    name, key = summary["dataset"]["name"], keys.dataset_manifest(summary["dataset"]["name"])
    data = await store.read_key(key, _MANIFEST_BYTES)
    if data is None or sha256(data) != summary["dataset"]["manifest_sha256"]:
        raise BadInput(f"data set {name}: the store has no {key} of this run; give the store that the run used")
    return manifests.dataset_from_json(data, key)


def _ref(row: Mapping[str, Any]) -> Any:
    from tessera.pb.common_pb2 import ObjectRef

    fields = {part: str(row[f"answer_{part}"]) for part in ("bucket", "key", "sha256", "media_type")}
    return ObjectRef(size=int(row["answer_size"]), **fields)
