"""Take up the newest version of a data set at the start of a round, and commit it as the result of step take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from tessera.errors import BadInput
from tessera.formats import manifests
from tessera.formats.manifests import DatasetManifest, ImageItem, LabelManifest
from tessera.loop import growing
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.jobs_pb2 import JobRecord
from tessera.pb.runs_pb2 import TakeVersionRequest, TakeVersionResponse
from tessera.runtime import failpoints, series
from tessera.runtime.events import EventLog
from tessera.runtime.objects import ObjectStore
from tessera.runtime.records import Records

_log = logging.getLogger(__name__)
_SPLIT: Final = "train"


class VersionTaker:
    """Looks into the store for a run's next version; any number of processes may, and one record wins."""

    def __init__(self, store: ObjectStore, records: Records, log: EventLog, worker: str = "") -> None:
        self._store, self._records, self._log, self._worker = store, records, log, worker

    async def take(self, run_id: str, round_: int, key: str, request: TakeVersionRequest) -> None:
        """Commit the version of a round and tell the run; idempotent: what was taken once stays taken."""
        record = await self._records.find(growing.TAKE, key, algorithm=growing.ALGORITHM)
        if record is None:
            response = await newest(self._store, request)
            failpoints.reached("version_found")
            record = await self._records.commit(
                JobRecord(
                    job_key=key,
                    method=growing.TAKE,
                    algorithm=growing.ALGORITHM,
                    response=response.SerializeToString(deterministic=True),
                    worker=self._worker,
                    attempt=1,
                )
            )
            failpoints.reached("version_taken")
        taken = TakeVersionResponse.FromString(record.response)
        _log.info("a data set's version is taken up", extra={"run": run_id, "round": round_, "version": taken.version})
        await self._log.job_done(run_id, record)


async def newest(store: ObjectStore, request: TakeVersionRequest) -> TakeVersionResponse:
    """Return the data set of the round: that of the round before, with the images that joined since behind its own, and
    the labels that came with some of them.

    BadInput where the newest version lacks an image that the run has: versions only add images.
    """
    before = await _manifest(store, request.manifest)
    same = TakeVersionResponse(manifest=request.manifest, version=request.version, split_sizes=before.sizes())
    found = await series.version(store, request.series)
    if found is None or found.number <= request.version:
        return same
    after = await _manifest(store, found.dataset.manifest)
    where = f"data set {request.series}, version {found.number}"
    made = await asyncio.to_thread(joined, before, after, where)
    if made is after:
        reference = found.dataset.manifest
    else:
        reference = await store.put_content(manifests.dataset_to_json(made), "application/json")
    response = TakeVersionResponse(manifest=reference, version=found.number, split_sizes=made.sizes())
    if found.dataset.HasField("given"):
        data = await store.get(found.dataset.given)
        known = manifests.labels_from_json(data, found.dataset.given.key).labels
        joining = made.split(_SPLIT)[len(before.split(_SPLIT)) :]
        fresh = {item.image_id: known[item.image_id] for item in joining if item.image_id in known}
        if fresh:
            labels = manifests.labels_to_json(LabelManifest(_SPLIT, fresh))
            response.given.CopyFrom(await store.put_content(labels, "application/json"))
    return response


def joined(before: DatasetManifest, after: DatasetManifest, where: str) -> DatasetManifest:
    """Return ``after`` with the images of ``before`` in their splits and places, and the others behind in train."""
    if before.classes != after.classes or before.ignore_index != after.ignore_index:
        raise BadInput(f"{where}: has other classes than the run; a version only adds images")
    known = {item.image_id: item for items in before.splits.values() for item in items}
    now = {item.image_id: item for item in after.split(_SPLIT)}
    for image_id, item in known.items():
        if now.get(image_id) != item:
            raise BadInput(f"{where}: image {image_id} of the run is not in it as it was; a version only adds images")
    train = (*before.split(_SPLIT), *(item for item in after.split(_SPLIT) if item.image_id not in known))
    if set(before.splits) == {_SPLIT} and _ids(train) == _ids(after.split(_SPLIT)):
        return after
    return DatasetManifest(
        after.name, after.classes, {**before.splits, _SPLIT: train}, after.ignore_index, after.task, after.series
    )


def _ids(items: Sequence[ImageItem]) -> list[str]:
    return [item.image_id for item in items]


async def _manifest(store: ObjectStore, reference: ObjectRef) -> DatasetManifest:
    data: Any = await store.get(reference)
    return await asyncio.to_thread(manifests.dataset_from_json, data, reference.key)
