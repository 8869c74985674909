"""Look-ups that services share: from a manifest or table to the references of the objects that a job reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from tessera.between_jobs import between_jobs
from tessera.errors import BadInput
from tessera.formats import manifests, schemas, tables
from tessera.lru import CountLimitedLRU
from tessera.pb.common_pb2 import ImageRange, ObjectRef, RegionShard
from tessera.runtime.method import Context

_T = TypeVar("_T")
_KEPT: Final = 64
_parsed: CountLimitedLRU[tuple[str, str], Any] = between_jobs.keep("parsed manifests", CountLimitedLRU(_KEPT))


async def dataset(context: Context, manifest: ObjectRef) -> manifests.DatasetManifest:
    """Fetch and parse a data set manifest."""
    return await _parse(context, manifest, "dataset", lambda data: manifests.dataset_from_json(data, manifest.key))


async def images(context: Context, manifest: ObjectRef, wanted: ImageRange) -> list[ObjectRef]:
    """Find the images [start, end) of a split, in order; BadInput when the range is not inside the split."""
    return [item.image for item in (await dataset(context, manifest)).items(wanted)]


async def images_by_id(context: Context, manifest: ObjectRef, split: str, ids: Iterable[str]) -> list[ObjectRef]:
    """Find images by id, in the order given; BadInput names the first unknown id."""
    return [item.image for item in (await dataset(context, manifest)).by_id(split, tuple(ids))]


async def labels(context: Context, label_manifest: ObjectRef, ids: Iterable[str]) -> list[ObjectRef]:
    """Find label maps by image id, in the order given; BadInput names the first image without one."""
    parsed: manifests.LabelManifest = await _parse(
        context, label_manifest, "labels", lambda data: manifests.labels_from_json(data, label_manifest.key)
    )
    return [parsed.label(image_id) for image_id in ids]


async def labelled(context: Context, manifest: ObjectRef, label_manifest: ObjectRef) -> list[str]:
    """Find the ids of the images that a label manifest has labels of, in the data set's order."""
    parsed: manifests.LabelManifest = await _parse(
        context, label_manifest, "labels", lambda data: manifests.labels_from_json(data, label_manifest.key)
    )
    items = (await dataset(context, manifest)).split(parsed.split)
    return [item.image_id for item in items if item.image_id in parsed.labels]


async def maps(context: Context, shards: Sequence[RegionShard], ids: Iterable[str] | None = None) -> list[ObjectRef]:
    """Find region maps: of these images (each exactly once, in the order given), or of all, in shard order.

    BadInput names the first image that no shard holds.
    """
    found: dict[str, ObjectRef] = {}
    for shard in shards:
        table = await _table(context, shard.maps, schemas.MAPS, "maps")
        found.update(zip((str(image_id) for image_id in table["image_id"]), table_refs(table, ""), strict=True))
    if ids is None:
        return list(found.values())
    wanted = list(dict.fromkeys(ids))
    for image_id in wanted:
        if image_id not in found:
            raise BadInput(f"region maps: none of {len(shards)} shards holds image {image_id!r}")
    return [found[image_id] for image_id in wanted]


async def answers(context: Context, ledgers: Iterable[ObjectRef]) -> list[ObjectRef]:
    """Find the answer objects of ledgers, in ledger order; answers without an object are left out."""
    refs: list[ObjectRef] = []
    for ledger in ledgers:
        table = await _table(context, ledger, schemas.LEDGER, "ledger")
        refs.extend(ref for ref in table_refs(table, "answer_") if ref.sha256)
    return refs


async def _table(context: Context, ref: ObjectRef, schema: Any, kind: str) -> Mapping[str, Any]:
    return await _parse(context, ref, kind, lambda data: tables.read(schema, data, ref.key))


async def _parse(context: Context, ref: ObjectRef, kind: str, parse: Callable[[bytes], _T]) -> _T:
    """Parse once per content. The bytes are fetched each time, because the read policy is the context's."""
    data = await context.fetch(ref)
    key = (kind, ref.sha256)
    value: _T | None = _parsed.get(key)
    if value is None:
        value = parse(data)
        _parsed.put(key, value)
    return value


def table_refs(table: Mapping[str, Any], prefix: str) -> list[ObjectRef]:
    """Return one reference per row, from a table's columns ``<prefix>bucket``, ``<prefix>key``, …."""
    columns = [table[f"{prefix}{name}"] for name in ("bucket", "key", "sha256", "size", "media_type")]
    return [
        ObjectRef(bucket=bucket, key=key, sha256=digest, size=int(size), media_type=media_type)
        for bucket, key, digest, size, media_type in zip(*columns, strict=True)
    ]
