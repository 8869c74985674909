"""Draw the regions that several runs on one data set chose in a round, side by side.

``python tools/acquisition_pictures.py DATA OUT.png RUN…`` reads ``RUN/selections`` and ``RUN/summary.json``. One tile
per run: every chosen region at its place in the frame, in the colour of its true majority class; below it the times of
the frames in each sequence, and the share of every class among the chosen pixels. ``--crops SHEET.png`` also writes
crops of the highest-ranked regions, one row per run; that sheet holds pixels of the data set and falls under its
licence.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tessera.datasets.reader import read_dataset
from tessera.datasets.samples import LabelledImage, Source
from tessera.formats import images, schemas, tables
from tessera.regions import partition

_SCALE = 2
_COLUMNS = 4
_UNDEFINED = (90, 90, 90)
_PAPER, _INK, _FAINT, _FRAME = (250, 250, 248), (30, 30, 30), (150, 150, 150), (235, 235, 230)


class Pictures:
    """The images of a split with their labels and region maps, each made once."""

    def __init__(self, source: Source, axis: Mapping[str, Any]) -> None:
        self.source = source
        self.samples = {sample.image_id: sample for sample in source.splits["train"]}
        self.colours = [info.color for info in source.classes.classes]
        self._axis = {key: value for key, value in axis.items() if key not in ("name", "implementation")}
        self._name = axis["name"]
        self.regions = cache(self._regions)
        self.labels = cache(self._labels)

    def rgb(self, image_id: str) -> NDArray[np.uint8]:
        """(H, W, 3)."""
        return images.decode_rgb(self.samples[image_id].image_path.read_bytes(), image_id)

    def _regions(self, image_id: str) -> NDArray[np.int32]:
        return partition(self._name, self._axis, self.rgb(image_id))

    def _labels(self, image_id: str) -> NDArray[np.uint8]:
        return images.decode_labels(self.samples[image_id].label_path.read_bytes(), image_id)


def main() -> None:
    """Read the arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--crops", type=Path)
    given = parser.parse_args()
    summaries = [json.loads((run / "summary.json").read_text()) for run in given.runs]
    pictures = Pictures(read_dataset(given.data), summaries[0]["axes"]["partition"])
    chosen = [_chosen(run, given.round) for run in given.runs]
    tiles = [_tile(pictures, one, summary, given.round) for one, summary in zip(chosen, summaries, strict=True)]
    _grid(tiles).save(given.out, optimize=True)
    if given.crops is not None:
        rows = [_crops(pictures, one, summary) for one, summary in zip(chosen, summaries, strict=True)]
        Image.fromarray(np.concatenate(rows)).save(given.crops)


def _chosen(run: Path, round_: int) -> list[tuple[str, int]]:
    data = (run / "selections" / f"round_{round_:02d}.parquet").read_bytes()
    table = tables.read(schemas.SELECTION, data, str(run))
    return [(str(image), int(region)) for image, region in zip(table["image_id"], table["region_id"], strict=True)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _tile(pictures: Pictures, chosen: list[tuple[str, int]], summary: Mapping[str, Any], round_: int) -> Image.Image:
    height, width = pictures.labels(chosen[0][0]).shape
    canvas = np.full((height, width, 3), _FRAME, np.uint8)
    shares = np.zeros(len(pictures.colours) + 1, np.int64)
    for image_id, region in chosen:
        inside = pictures.regions(image_id) == region
        classes = pictures.labels(image_id)[inside].astype(np.int64)
        counts = np.bincount(np.minimum(classes, len(pictures.colours)), minlength=len(shares))
        shares += counts
        edge = _rim(inside)
        canvas[inside] = (*pictures.colours, _UNDEFINED)[int(counts.argmax())]
        canvas[edge] = (canvas[edge] * 0.6).astype(np.uint8)
    w, h = width // _SCALE, height // _SCALE
    tile = Image.new("RGB", (w + 20, h + 122), _PAPER)
    draw = ImageDraw.Draw(tile)
    result = next(one for one in summary["rounds"] if one["round"] == round_)
    before = next(one for one in summary["rounds"] if one["round"] == round_ - 1)
    touched = len({image for image, _ in chosen})
    name = summary["recipe"].removeprefix("select_camvid_")
    draw.text((10, 6), name, _INK, _font(15))
    draw.text((10, 25), f"{len(chosen)} regions in {touched} images", _INK, _font(11))
    cost = result["clicks"] - before["clicks"]
    draw.text((10, 39), f"{cost} clicks, test mIoU {result['test']['miou']:.3f}", _INK, _font(11))
    tile.paste(Image.fromarray(canvas).resize((w, h), Image.Resampling.BILINEAR), (10, 56))
    _timeline(draw, pictures.samples, chosen, (10, 62 + h, w))
    _shares(draw, (*pictures.colours, _UNDEFINED), shares, (10, 108 + h, w))
    return tile


def _rim(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a region that touch another region."""
    return inside & (cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)


def _timeline(
    draw: ImageDraw.ImageDraw,
    samples: Mapping[str, LabelledImage],
    chosen: list[tuple[str, int]],
    place: tuple[int, int, int],
) -> None:
    """Draw one line per sequence, as long as its share of the frames, and one stroke per frame, as high as its chosen
    regions."""
    left, top, width = place
    count = Counter(image for image, _ in chosen)
    ordered = sorted(samples.values(), key=lambda sample: (sample.sequence, sample.time))
    step = width / len(ordered)
    previous = ""
    for place_, sample in enumerate(ordered):
        x = left + place_ * step
        if sample.sequence != previous:
            draw.text((x, top + 29), sample.sequence, _FAINT, _font(9))
            draw.line((x, top, x, top + 38), _FAINT)
            previous = sample.sequence
        if sample.image_id in count:
            draw.line((x, top + 28 - min(26, 3 * count[sample.image_id]), x, top + 28), _INK)
    draw.line((left, top + 28, left + width, top + 28), _FAINT)


def _shares(draw: ImageDraw.ImageDraw, colours: Any, shares: NDArray[np.int64], place: tuple[int, int, int]) -> None:
    left, top, width = place
    edges = left + np.concatenate([[0], np.cumsum(shares)]) / shares.sum() * width
    for colour, start, end in zip(colours, edges[:-1], edges[1:], strict=True):
        if end > start:
            draw.rectangle((start, top, end, top + 9), colour)


def _grid(tiles: list[Image.Image]) -> Image.Image:
    width, height = tiles[0].size
    rows = -(-len(tiles) // _COLUMNS)
    page = Image.new("RGB", (width * min(_COLUMNS, len(tiles)), height * rows), _PAPER)
    for index, tile in enumerate(tiles):
        page.paste(tile, (index % _COLUMNS * width, index // _COLUMNS * height))
    return page


def _crops(
    pictures: Pictures, chosen: list[tuple[str, int]], summary: Mapping[str, Any], count: int = 14, side: int = 96
) -> NDArray[np.uint8]:
    """Return the regions of highest rank with their surroundings, (side, …, 3)."""
    label = Image.new("RGB", (150, side), _PAPER)
    ImageDraw.Draw(label).text((6, 40), summary["recipe"].removeprefix("select_camvid_"), _INK, _font(13))
    row = [np.asarray(label)]
    for image_id, region in chosen[:count]:
        inside = pictures.regions(image_id) == region
        ys, xs = np.nonzero(inside)
        rgb = pictures.rgb(image_id).copy()
        rgb[_rim(inside)] = (255, 40, 40)
        half = max(24, (max(np.ptp(ys), np.ptp(xs)) + 12) // 2)
        cy, cx = int(ys.mean()), int(xs.mean())
        padded = np.pad(rgb, ((half, half), (half, half), (0, 0)))
        crop = Image.fromarray(padded[cy : cy + 2 * half, cx : cx + 2 * half])
        row.append(np.asarray(crop.resize((side, side), Image.Resampling.LANCZOS)))
    row += [np.full((side, side, 3), 255, np.uint8)] * (count + 1 - len(row))
    return np.concatenate(row, axis=1)


if __name__ == "__main__":
    main()
