"""Tables of questions to people and of their answers: made from images and region maps, and read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.formats import images, predictors, shards
from tessera.formats.blobs import Blobs
from tessera.formats.manifests import DatasetManifest, ImageItem
from tessera.formats.media import PNG
from tessera.pb.common_pb2 import ObjectRef, RegionShard
from tessera.pb.oracle_pb2 import AskRequest
from tessera.queries import AnnotatedImage, ByPeople, Question
from tessera.queries.formats.pixel import PixelParams, drawn
from tessera.queries.given import Given, agreement, mask_to_runs, runs_to_raster, shape_of
from tessera.regions import region_table
from tessera.registry import Params

_PARTS = ("bucket", "key", "sha256", "size", "media_type")


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

            made["superpixels"] = partition("slic", {"size": self._edge}, rgb)
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
