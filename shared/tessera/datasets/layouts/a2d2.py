"""A2D2, semantic segmentation: ``SCENE/camera/cam_*/`` and ``SCENE/label/cam_*/`` in colours, 19 classes of Cityscapes.

``mapping=study`` takes the 19 classes of the study's code, ``mapping=original`` the 38 of A2D2 (see
``datasets/definitions/a2d2.py``). A scene seen by one camera is a sequence, with the frame number at 30 Hz as its
time. Train is every scene but ``val`` (the one scene of the study), test comes from ``test_scenes`` or ``test=half``.
``class_list.json`` is checked against the definition when it is there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from tessera.datasets.definitions.a2d2 import (
    CLASSES,
    FRAME_RATE,
    ORIGINAL_CLASSES,
    STUDY_CLASSES,
    VALIDATION,
    VOID,
    colour,
)
from tessera.datasets.definitions.cityscapes import CLASSES as CITYSCAPES
from tessera.datasets.files import read_text
from tessera.datasets.layouts import LAYOUTS, LayoutParams, LayoutTraits
from tessera.datasets.listing import files_ending
from tessera.datasets.samples import Classes, LabelledImage, Problems, Source, check_splits, pair
from tessera.errors import BadInput
from tessera.formats.label_codes import ColourCode
from tessera.formats.manifests import ClassInfo

Mapping = Literal["cityscapes", "study", "original"]


class A2d2(LayoutParams):
    """``mapping`` of the classes; scenes of ``val`` and test, the others are train; ``cameras``: all unless named."""

    mapping: Mapping = "cityscapes"
    val: tuple[str, ...] = (VALIDATION,)
    test_scenes: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()


def _root(folder: Path) -> Path:
    inner = folder / "camera_lidar_semantic"
    return inner if inner.is_dir() else folder


def _scenes(folder: Path) -> list[Path]:
    root = _root(folder)
    return sorted(path for path in root.iterdir() if (path / "camera").is_dir() and (path / "label").is_dir())


def detect(folder: Path) -> bool:
    """Return whether the folder has a scene."""
    return bool(_scenes(folder))


@LAYOUTS.register(
    "a2d2",
    A2d2,
    LayoutTraits(detect=detect, looks_for="SCENE/camera/cam_*/ and SCENE/label/cam_*/ in colours, as in A2D2"),
)
def read(folder: Path, params: A2d2, problems: Problems) -> Source:
    """Read the names of all images and label maps; BadInput for scenes that are not there."""
    path = _root(folder) / "class_list.json"
    if path.is_file():
        _check_colours(path)
    scenes = {scene.name: scene for scene in _scenes(folder)}
    for name in (*params.val, *params.test_scenes):
        if name not in scenes:
            raise BadInput(
                f"{folder}: no scene {name!r} for val or test; it has {', '.join(list(scenes)[:8])}; choose with "
                "--set val='[SCENE]'"
            )
    splits: dict[str, list[LabelledImage]] = {"train": [], "val": [], "test": []}
    for name, scene in scenes.items():
        split = "test" if name in params.test_scenes else "val" if name in params.val else "train"
        splits[split] += _scene(scene, split, params.cameras, problems)
    made = {split: tuple(samples) for split, samples in splits.items() if samples}
    check_splits(folder, made, problems)
    classes, code = _mapped(params.mapping)
    return Source("a2d2", "a2d2", Classes(classes, VOID, FRAME_RATE), made, code)


def _scene(scene: Path, split: str, cameras: tuple[str, ...], problems: Problems) -> list[LabelledImage]:
    samples: list[LabelledImage] = []
    for images_at in sorted(path for path in (scene / "camera").iterdir() if path.is_dir()):
        if cameras and images_at.name not in cameras:
            continue
        labels_at = scene / "label" / images_at.name
        images = files_ending(images_at, ".png", problems)
        labels = files_ending(labels_at, ".png", problems) if labels_at.is_dir() else {}
        by_image = {name.replace("_label_", "_camera_"): path for name, path in labels.items()}
        samples += pair(split, images, by_image, labels_at, FRAME_RATE, problems, _label_name)
    return samples


def _label_name(image_id: str) -> str:
    return f"{image_id.replace('_camera_', '_label_')}.png"


def _mapped(mapping: Mapping) -> tuple[tuple[ClassInfo, ...], ColourCode]:
    table = {}
    for index, entry in enumerate(CLASSES.values()):
        to = {"cityscapes": entry.cityscapes, "study": entry.study, "original": index}[mapping]
        table.update({colour(text): to for text in entry.colours})
    classes = {"cityscapes": CITYSCAPES, "study": STUDY_CLASSES, "original": ORIGINAL_CLASSES}[mapping]
    return classes, ColourCode("colours of A2D2", table)


def _check_colours(path: Path) -> None:
    """Compare ``{"#ff0000": "Car 1", …}`` with the definition."""
    try:
        given = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); restore it") from None
    if not isinstance(given, dict):
        raise BadInput(f"{path}: not an object of colours and names; restore it")
    known = {
        f"#{text}": name if len(entry.colours) == 1 else f"{name} {number}"
        for name, entry in CLASSES.items()
        for number, text in enumerate(entry.colours, start=1)
    }
    for text, name in given.items():
        if known.get(str(text).lower()) != name:
            raise BadInput(
                f"{path}: {text} is {name!r}, but {known.get(str(text).lower(), 'not a colour')!r} in A2D2; "
                "these are not A2D2's classes"
            )
