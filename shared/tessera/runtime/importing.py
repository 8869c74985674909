"""Import a folder of images and labels into the object store; everything is checked here, once."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from tessera.datasets.contents import image_bytes, label_bytes
from tessera.datasets.reader import links_out, read_dataset
from tessera.datasets.samples import LabelledImage, Problems, Source
from tessera.errors import BadInput
from tessera.formats import images, keys
from tessera.formats.manifests import (
    DatasetManifest,
    ImageItem,
    LabelManifest,
    dataset_to_json,
    labels_to_json,
)
from tessera.formats.media import PNG
from tessera.pb.common_pb2 import Dataset, ObjectRef
from tessera.registry import canonical_json

Progress = Callable[[int, int, str], None]

_THREADS = 2
AT_ONCE: Final = 16
"""Objects that are read or written at a time: as many as the connections that a store keeps open."""

T = TypeVar("T")
R = TypeVar("R")


class Store(Protocol):
    """The part of the object store that an import needs."""

    bucket: str

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        """Store bytes under a key."""

    async def exists(self, key: str) -> ObjectRef | None:
        """Return the reference of the object at a key, or None."""


@dataclass(frozen=True)
class _Checked:
    """A sample whose image and label map were decoded without error; the label's facts are those of the stored PNG, and
    empty where there is no label."""

    sample: LabelledImage
    info: images.ImageInfo
    image_sha256: str
    image_size: int
    label_sha256: str
    label_size: int


async def import_dataset(
    objects: Store,
    folder: Path,
    layout: str | None = None,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[Dataset, DatasetManifest]:
    """Check every image and label map of ``folder``, upload what the store lacks, and return the data set.

    The data set's id is its name and the hash of its content, so the same folder again uploads nothing. Everything
    wrong with the folder is raised as one BadInput (the first 20 problems and the count) before anything is uploaded.
    Label maps in ids or colours of their own are stored as class indices, converted one at a time. ``settings`` are
    parameters of the layout. ``progress(done, total, what)`` is called with what = ``check`` and then ``upload``, total
    in images; ``tell`` is called with a note about files that lie outside the folder.
    """
    problems = Problems(str(folder))
    source = await asyncio.to_thread(read_dataset, folder, layout, problems, settings)
    if source.elsewhere and tell is not None:
        tell(links_out(source))
    checked = await _check(source, problems, progress)
    problems.check()
    dataset_id = _dataset_id(source, checked)
    manifest, labels = _manifests(source, checked, dataset_id, objects.bucket)
    data = dataset_to_json(manifest)
    reference = _reference(objects.bucket, keys.dataset_manifest(dataset_id), data)
    label_data = {split: labels_to_json(LabelManifest(split, refs)) for split, refs in labels.items()}
    result = Dataset(
        manifest=reference,
        labels={
            split: _reference(objects.bucket, keys.dataset_labels(dataset_id, split), body)
            for split, body in label_data.items()
        },
    )
    # The manifest is written last: where it exists, everything it names exists.
    if not _same(await objects.exists(reference.key), reference):
        await _upload(objects, source, checked, manifest, labels, progress)
        for split, body in label_data.items():
            await _put(objects, result.labels[split], body)
        await _put(objects, reference, data)
    return result, manifest


async def _check(source: Source, problems: Problems, progress: Progress | None) -> list[_Checked]:
    samples = [sample for split in source.splits.values() for sample in split]
    loop = asyncio.get_running_loop()
    checked: list[_Checked] = []
    with ThreadPoolExecutor(_THREADS, "import") as pool:

        async def check(sample: LabelledImage) -> tuple[_Checked | None, list[str]]:
            return await loop.run_in_executor(pool, _check_sample, sample, source)

        async for done, (good, complaints) in in_order(samples, check):
            for complaint in complaints:
                problems.add(complaint)
            if good is not None:
                checked.append(good)
            if progress is not None:
                progress(done, len(samples), "check")
    return checked


def _check_sample(sample: LabelledImage, source: Source) -> tuple[_Checked | None, list[str]]:
    """Decode both files of a sample; return the problems of either."""
    complaints: list[str] = []
    shape: tuple[int, int] | None = None
    image = label = b""
    try:
        image = image_bytes(sample)
        shape = images.decode_rgb(image, str(sample.image_path)).shape[:2]
    except BadInput as error:
        complaints.append(str(error))
    try:
        label = b"" if sample.unlabelled else label_bytes(sample, source, shape)
    except BadInput as error:
        complaints.append(str(error))
    if complaints:
        return None, complaints
    info = images.probe(image, str(sample.image_path))
    digest = "" if sample.unlabelled else _sha256(label)
    return _Checked(sample, info, _sha256(image), len(image), digest, len(label)), []


def _dataset_id(source: Source, checked: list[_Checked]) -> str:
    content: list[Any] = [
        [[info.name, *info.color] for info in source.classes.classes],
        source.classes.ignore_index,
        [
            [c.sample.split, c.sample.image_id, c.sample.sequence, c.sample.time, c.image_sha256, c.label_sha256]
            for c in checked
        ],
    ]
    if source.classes.task != "segmentation":
        content.append(source.classes.task)
    name = re.sub(r"[^a-z0-9]+", "-", source.name.lower()).strip("-")[:40] or "dataset"
    return f"{name}-{_sha256(canonical_json(content).encode())[:12]}"


def _manifests(
    source: Source, checked: list[_Checked], dataset_id: str, bucket: str
) -> tuple[DatasetManifest, dict[str, dict[str, ObjectRef]]]:
    splits: dict[str, list[ImageItem]] = {split: [] for split in source.splits}
    labels: dict[str, dict[str, ObjectRef]] = {split: {} for split in source.splits}
    for c in checked:
        at, image_id = c.sample.split, c.sample.image_id
        image = ObjectRef(
            bucket=bucket,
            key=keys.dataset_image(dataset_id, at, image_id, c.info.extension),
            sha256=c.image_sha256,
            size=c.image_size,
            media_type=c.info.media_type,
        )
        item = ImageItem(image_id, image, c.info.width, c.info.height, c.sample.sequence, c.sample.time)
        splits[at].append(item)
        if c.sample.unlabelled:
            continue
        labels[at][image_id] = ObjectRef(
            bucket=bucket,
            key=keys.dataset_label(dataset_id, at, image_id),
            sha256=c.label_sha256,
            size=c.label_size,
            media_type=PNG,
        )
    manifest = DatasetManifest(
        dataset_id,
        source.classes.classes,
        {split: tuple(items) for split, items in splits.items()},
        source.classes.ignore_index,
        source.classes.task,
    )
    return manifest, {split: refs for split, refs in labels.items() if refs or not splits[split]}


async def _upload(
    objects: Store,
    source: Source,
    checked: list[_Checked],
    manifest: DatasetManifest,
    labels: dict[str, dict[str, ObjectRef]],
    progress: Progress | None,
) -> None:
    items = {split: {item.image_id: item.image for item in of} for split, of in manifest.splits.items()}

    async def upload(c: _Checked) -> None:
        at, image_id = c.sample.split, c.sample.image_id
        shape = c.info.height, c.info.width
        files = [(items[at][image_id], c.sample.image_path, partial(image_bytes, c.sample))]
        if not c.sample.unlabelled:
            files.append((labels[at][image_id], c.sample.label_path, partial(label_bytes, c.sample, source, shape)))
        for reference, path, load in files:
            if not _same(await objects.exists(reference.key), reference):
                data = await asyncio.to_thread(load)
                if _sha256(data) != reference.sha256:
                    raise BadInput(f"{path}: changed while it was imported; import again when it is at rest")
                await _put(objects, reference, data)

    async for done, _ in in_order(checked, upload):
        if progress is not None:
            progress(done, len(checked), "upload")


async def _put(objects: Store, reference: ObjectRef, data: bytes) -> None:
    await objects.put(reference.key, data, reference.media_type)


def _same(found: ObjectRef | None, wanted: ObjectRef) -> bool:
    return found is not None and (found.sha256, found.size) == (wanted.sha256, wanted.size)


def _reference(bucket: str, key: str, data: bytes) -> ObjectRef:
    return ObjectRef(bucket=bucket, key=key, sha256=_sha256(data), size=len(data), media_type="application/json")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def in_order(items: Iterable[T], call: Callable[[T], Awaitable[R]]) -> AsyncIterator[tuple[int, R]]:
    """Yield results in order with their numbers from 1; at most ``AT_ONCE`` calls run, so that memory stays bounded.

    A call starts when an earlier one was yielded: one that is slow keeps no other waiting but for its turn.
    """
    running: deque[asyncio.Future[R]] = deque()
    left = iter(items)
    try:
        for item in islice(left, AT_ONCE):
            running.append(asyncio.ensure_future(call(item)))
        done = 0
        while running:
            result = await running.popleft()
            for item in islice(left, 1):
                running.append(asyncio.ensure_future(call(item)))
            done += 1
            yield done, result
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
