"""Tables of questions to people and of their answers: made from images and region maps, and read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.formats import images, manifests, predictors, schemas, shards, tables
from tessera.formats.blobs import Blobs
from tessera.formats.manifests import DatasetManifest, ImageItem
from tessera.formats.media import PARQUET, PNG
from tessera.pb.common_pb2 import ObjectRef, RegionShard
from tessera.pb.scorer_pb2 import AskRequest, AskResponse
from tessera.queries import FORMATS, AnnotatedImage, ByPeople, Question
from tessera.queries.formats.pixel import PixelParams, drawn
from tessera.queries.given import Given, agreement, mask_to_runs, runs_to_raster, shape_of
from tessera.regions import region_table
from tessera.registry import Params

_PARTS = ("bucket", "key", "sha256", "size", "media_type")


def ask(request: AskRequest, blobs: Blobs) -> AskResponse:
    """Write the table of questions, rows in rank order; every image is read at most once.

    BadInput: a selected image that is not in the manifest or in no shard, a region that its map does not have.
    """
    selection = tables.read(schemas.SELECTION, blobs.read(request.selection), "selection")
    params = FORMATS.parameters(request.query.name, request.query.parameters)
    dataset = manifests.dataset_from_json(blobs.read(request.manifest))
    items = {item.image_id: item for item in dataset.by_id(shards.split_of(request.shards), _ids(selection))}
    planes = StartingPoints(request, len(dataset.classes), blobs)
    found: dict[int, dict[str, Any]] = {}
    for frame, _, rows in frames(selection, request.shards, dataset, blobs):
        for row in rows:
            asked = replace(question(frame, int(selection["region_id"][row])), seed=request.seed)
            found[row] = row_of(row, items[frame.image_id], asked, params, planes)
        blobs.progress(len(found) / len(selection["image_id"]), frame.image_id)
    table = {name: [found[row][name] for row in range(len(found))] for name in schemas.QUESTIONS.names}
    return AskResponse(questions=blobs.write(tables.write(schemas.QUESTIONS, table), PARQUET), count=len(found))


def row_of(rank: int, item: ImageItem, question: Question, params: Params, planes: StartingPoints) -> dict[str, Any]:
    """Return one row of a table `schemas.QUESTIONS`."""
    row = {"rank": rank, **_place(item, question), "points": _points(question, params)}
    for name, plane in planes.of(item).items():
        row |= dict(planes.crop(name, plane, question))
    return row


def _place(item: ImageItem, question: Question) -> dict[str, Any]:
    y0, x0, y1, x1 = question.box
    return {
        "image_id": item.image_id,
        "region_id": question.region_id,
        **{f"image_{part}": getattr(item.image, part) for part in _PARTS},
        "height": item.height,
        "width": item.width,
        "sequence": item.sequence,
        "time": item.time,
        **{"y0": y0, "x0": x0, "y1": y1, "x1": x1},
        "pixels": question.pixels(),
        "region": np.array(mask_to_runs(question.inside), "<u4").tobytes(),
    }


def _points(question: Question, params: Params) -> bytes:
    """Return y, x of the pixels that a pixel query asks about, in pixels of the image."""
    if not isinstance(params, PixelParams):
        return b""
    ys, xs = np.unravel_index(drawn(question, params), question.inside.shape)
    return np.stack([ys + question.box[0], xs + question.box[1]], axis=1).astype("<i4").tobytes()


class StartingPoints:
    """What is offered as a starting point: the model's prediction and superpixels of whole images."""

    def __init__(self, request: AskRequest, classes: int, blobs: Blobs) -> None:
        self._blobs, self._edge, self._classes = blobs, request.superpixels, classes
        self._predictor = predictors.predictor(request.model, blobs.read) if request.HasField("model") else None
        self._last: tuple[str, dict[str, NDArray[Any] | None]] = "", {}

    def of(self, item: ImageItem) -> dict[str, NDArray[Any] | None]:
        """Return the planes of an image, (H, W) each; None where there is none. The last image's are kept."""
        if self._last[0] != item.image_id:
            self._last = item.image_id, self._made(item)
        return self._last[1]

    def crop(self, name: str, plane: NDArray[Any] | None, question: Question) -> Iterator[tuple[str, Any]]:
        """Yield the columns of a picture of the box, stored as PNG; an empty reference where there is none."""
        ref = ObjectRef()
        if plane is not None:
            y0, x0, y1, x1 = question.box
            cut = plane[y0:y1, x0:x1]
            if name == "superpixels":
                cut = np.unique(cut, return_inverse=True)[1].reshape(cut.shape)
                cut = cut.astype(np.uint8 if int(cut.max()) < 256 else np.uint16)
            ref = self._blobs.write(images.encode_png(np.ascontiguousarray(cut)), PNG)
        for part in _PARTS:
            yield f"{name}_{part}", getattr(ref, part)

    def _made(self, item: ImageItem) -> dict[str, NDArray[Any] | None]:
        made: dict[str, NDArray[Any] | None] = {"prediction": None, "superpixels": None}
        if self._predictor is None and not self._edge:
            return made
        rgb = images.decode_rgb(self._blobs.read(item.image), item.image_id)
        if self._predictor is not None:
            from tessera.models.upsample import predict

            logits = predictors.logits(self._predictor, item.image, rgb)[: self._classes]
            made["prediction"] = predict(logits, (rgb.shape[0], rgb.shape[1]))
        if self._edge:
            from tessera.regions.partition import partition

            # SEEDS builds regions of this size from blocks that are halved once per level.
            levels = min(5, (self._edge & -self._edge).bit_length())
            made["superpixels"] = partition("seeds", {"size": self._edge, "levels": levels}, rgb)
        return made


@dataclass(frozen=True)
class Told:
    """The answers to one question, by time."""

    given: tuple[Given, ...]
    people: ByPeople


def told(said: dict[str, Any], rows: Sequence[int], question: Question, query: str) -> Told:
    """Gather the answers to one question: rows of a table `schemas.ANSWERS`, by time."""
    height, width = question.inside.shape
    given = []
    for row in rows:
        if shape_of(query) == "raster" and not said["skipped"][row]:
            values, lengths = (np.frombuffer(said[name][row], "<u4").tolist() for name in ("values", "lengths"))
            given.append(Given((), runs_to_raster(values, lengths, height, width)))
        else:
            given.append(Given(tuple(said["classes"][row])))
    people = ByPeople(
        annotator="+".join(str(said["annotator"][row]) for row in rows),
        measured_clicks=sum(int(said["clicks"][row]) for row in rows),
        measured_seconds=sum(float(said["seconds"][row]) for row in rows),
        page_version=str(said["page_version"][rows[-1]]),
        agreement=-1.0 if said["skipped"][rows[0]] else agreement(given, query, question.inside),
        answered_at=max(float(said["answered_at"][row]) for row in rows),
    )
    return Told(tuple(given), people)


def question(frame: AnnotatedImage, region: int) -> Question:
    """Return the question about a region of the frame's map; BadInput if the map has no such region."""
    table = frame.once("table", lambda image: region_table(image.regions))
    if not 0 <= region < len(table):
        raise BadInput(
            f"selection: region {region} of image {frame.image_id} does not exist: its map has regions 0 to "
            f"{len(table) - 1}; select from the same partition"
        )
    return frame.question(region, table.box(region))


def frames(
    selection: dict[str, Any], pool: Sequence[RegionShard], dataset: DatasetManifest, blobs: Blobs
) -> Iterator[tuple[AnnotatedImage, ObjectRef, list[int]]]:
    """Yield each image with regions and without labels, the reference of its map, and its rows of the selection."""
    maps = shards.map_refs(pool, blobs.read)
    by_image: dict[str, list[int]] = {}
    for row, image_id in enumerate(selection["image_id"]):
        by_image.setdefault(str(image_id), []).append(row)
    last: tuple[str, NDArray[np.int32]] | None = None
    for image_id, rows in by_image.items():
        if image_id not in maps:
            raise BadInput(f"selection: image {image_id!r} has no region map in the shards of this request")
        ref = maps[image_id]
        if last is None or last[0] != ref.sha256:
            last = ref.sha256, images.decode_map(blobs.read(ref), f"region map of {image_id}")
        unknown = np.full(last[1].shape, dataset.ignore_index, np.uint8)
        yield AnnotatedImage(image_id, unknown, last[1], dataset.ignore_index, len(dataset.classes)), ref, rows


def _ids(selection: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(str(image_id) for image_id in selection["image_id"]))
