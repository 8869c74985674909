"""The values that readers of all layouts return, and the problems of a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from tessera.datasets.files import read_text
from tessera.errors import BadInput
from tessera.formats.keys import check_image_id, check_split
from tessera.formats.label_codes import LabelCode
from tessera.formats.manifests import ClassInfo, Task

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_SHOWN = 20
_VIDEO_NAME = re.compile(r"(?P<sequence>.+)_f?(?P<frame>\d{1,12})\Z")


@dataclass(frozen=True)
class Record:
    """An image inside a file of many: red, green and blue plane of height × width bytes each, from ``start`` on."""

    start: int
    height: int
    width: int


@dataclass(frozen=True)
class LabelledImage:
    """One labelled image on disk; ``time`` in seconds within ``sequence`` ("" and 0 where there is no video).

    `contents` reads image and label, whichever way they are stored.
    """

    image_id: str
    split: str
    image_path: Path
    label_path: Path
    """The label map, or the source of a whole image's class: its folder or the file of its record."""
    sequence: str
    time: float
    label: int | None = None
    """Class of the whole image; None: ``label_path`` is a map."""
    record: Record | None = None
    """Where the image lies in ``image_path``; None: the file is the image."""
    unlabelled: bool = False
    """Whether there is no label: people are asked. ``label_path`` is where the map would lie."""
    side: int | None = None
    """Side to which the shorter side is scaled before the middle square is cut out; None: the image is unchanged."""


@dataclass(frozen=True)
class Classes:
    """The classes in index order, the label value that is ignored, and the frame rate of the videos in Hz."""

    classes: tuple[ClassInfo, ...]
    ignore_index: int = 255
    frame_rate: float = 30.0
    name: str = ""
    task: Task = "segmentation"


@dataclass(frozen=True)
class Source:
    """A data set on disk, checked by name but not yet decoded."""

    name: str
    layout: str
    classes: Classes
    splits: Mapping[str, tuple[LabelledImage, ...]]
    # How label maps store classes; None: as class indices.
    labels: LabelCode | None = None
    elsewhere: tuple[Path, ...] = ()
    """Images and label maps that lie outside the folder, reached by links."""


@dataclass
class Problems:
    """Collects the problems of a folder, so that one message names them all."""

    where: str
    found: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Add a problem; its text is a complete sentence."""
        self.found.append(problem)

    def check(self) -> None:
        """Raise BadInput if there are problems: a single one as it is, else the first 20 and the count."""
        if len(self.found) == 1:
            raise BadInput(self.found[0])
        if self.found:
            more = len(self.found) - _SHOWN
            lines = [f"{self.where}: {len(self.found)} problems", *self.found[:_SHOWN]]
            raise BadInput("\n  ".join([*lines, f"and {more} more"] if more > 0 else lines))


def video_place(image_id: str, frame_rate: float) -> tuple[str, float]:
    """Return sequence and seconds from a name ``SEQUENCE_FRAME`` (the frame may start with ``f``); else ("", 0)."""
    match = _VIDEO_NAME.match(image_id)
    return (match["sequence"], int(match["frame"]) / frame_rate) if match else ("", 0.0)


def image_files(folder: Path, problems: Problems) -> dict[str, Path]:
    """Return the images of a folder by id (name without extension), sorted; other files and doubles are problems."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            problems.add(f"{path}: not a PNG or JPEG file; move it elsewhere or convert it")
        elif path.stem in found:
            problems.add(f"{path}: image id {path.stem!r} is taken by {found[path.stem].name}; ids are unique")
        else:
            try:
                found[check_image_id(path.stem, str(path))] = path
            except BadInput as error:
                problems.add(str(error))
    return found


def pair(
    split: str, images: Mapping[str, Path], labels: Mapping[str, Path], labels_at: Path, frame_rate: float | None,
    problems: Problems, named: Callable[[str], str] | None = None,
) -> tuple[LabelledImage, ...]:  # fmt: skip
    """Join images and label maps by id; one without the other is a problem. No ``frame_rate``: names are not videos.

    ``named`` gives the file name of an image's label map, for the message; default: the id and ``.png``.
    """
    samples = []
    for image_id, path in images.items():
        if image_id not in labels:
            label = labels_at / (named(image_id) if named else f"{image_id}.png")
            problems.add(f"{path}: has no label map {label}; add it or remove the image")
            continue
        sequence, time = video_place(image_id, frame_rate) if frame_rate else ("", 0.0)
        samples.append(LabelledImage(image_id, split, path, labels[image_id], sequence, time))
    for image_id in sorted(set(labels) - set(images)):
        problems.add(f"{labels[image_id]}: a label map without its image; add the image or remove it")
    return tuple(samples)


def split_folders(folder: Path, problems: Problems) -> list[Path]:
    """Return the sub-folders that are splits, sorted by name; unusable names are problems."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            try:
                check_split(path.name, str(path))
                found.append(path)
            except BadInput as error:
                problems.add(str(error))
    return found


def check_splits(folder: Path, splits: Mapping[str, tuple[LabelledImage, ...]], problems: Problems) -> None:
    """Note a missing train split and ids that are in two splits (an image to learn from and to be measured on)."""
    if "train" not in splits:
        problems.add(f"{folder}: no split named train; it has {', '.join(splits) or 'none'}")
    seen: dict[str, str] = {}
    for split, samples in splits.items():
        for sample in samples:
            if sample.image_id in seen:
                problems.add(
                    f"{sample.image_path}: image id {sample.image_id!r} is also in {seen[sample.image_id]}; "
                    "an image belongs to one split"
                )
            seen[sample.image_id] = split


def read_classes(path: Path) -> Classes:
    """Read ``classes.json`` (``{"classes": [{"index", "name", "color"}], "ignore_index": 255, "frame_rate": 30}``) or,
    for any other extension, one class name per line. ``"task": "classification"`` says that every image has one class.
    BadInput naming the file and the entry.
    """
    try:
        text = read_text(path)
        top = json.loads(text) if path.suffix.lower() == ".json" else {"classes": text.split("\n")}
    except FileNotFoundError:
        raise BadInput(f"{path}: missing; it lists the classes in index order") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); repair it") from None
    if not isinstance(top, dict) or not isinstance(top.get("classes"), list):
        raise BadInput(f"{path}: has no list named classes; add it, in index order")
    entries = [entry for entry in top["classes"] if entry not in ("", "\r")]
    classes = tuple(_class(entry, at, path) for at, entry in enumerate(entries))
    ignore, rate = top.get("ignore_index", 255), top.get("frame_rate", 30)
    if type(ignore) is not int or not 1 <= len(classes) <= ignore <= 255:
        raise BadInput(
            f"{path}: {len(classes)} classes with ignore_index {ignore!r}; give 1 to 255 classes, all below "
            "ignore_index: labels have 8 bits"
        )
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < 1e6:
        raise BadInput(f"{path}: frame_rate {rate!r} is not a number of frames per second")
    task = top.get("task", "segmentation")
    if task not in get_args(Task):
        raise BadInput(f"{path}: task {task!r:.80} is none of {', '.join(get_args(Task))}")
    names = [info.name for info in classes]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{path}: class {name!r} appears twice; names are unique")
    return Classes(classes, ignore, float(rate), str(top.get("name", "")), task)


def _class(entry: Any, at: int, path: Path) -> ClassInfo:
    if isinstance(entry, str):
        return ClassInfo(entry.strip(), palette(at + 1))
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise BadInput(f"{path}: classes[{at}] has no name; write {{'index': {at}, 'name': …, 'color': [r, g, b]}}")
    if entry.get("index", at) != at:
        raise BadInput(
            f"{path}: classes[{at}] ({entry['name']}) has index {entry['index']!r}; list them in index order"
        )
    color = entry.get("color", list(palette(at + 1)))
    if not isinstance(color, list) or len(color) != 3 or not all(type(c) is int and 0 <= c <= 255 for c in color):
        raise BadInput(f"{path}: classes[{at}] ({entry['name']}) has color {color!r}; write [r, g, b], 0-255 each")
    return ClassInfo(entry["name"], (color[0], color[1], color[2]))


def palette(value: int) -> tuple[int, int, int]:
    """Colour of a stored value in the PASCAL VOC colour map, whose bits are the value's, interleaved; 0 is black."""
    colour = [0, 0, 0]
    for bit in range(7, -1, -1):
        for channel in range(3):
            colour[channel] |= (value >> channel & 1) << bit
        value >>= 3
    return colour[0], colour[1], colour[2]
