"""Put a street data set on disk, in the native layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tessera.datasets.street.params import CLASSES, FRAME_RATE, SPLITS, VOID, StreetParams
from tessera.datasets.street.render import render_sequence
from tessera.errors import BadInput
from tessera.formats.images import encode_jpeg, encode_png

# As cameras store it: lossy, but far from the quality where blocks show.
_JPEG_QUALITY = 95


def make_street(
    folder: Path, params: StreetParams | None = None, progress: Callable[[int, int, str], None] | None = None
) -> Path:
    """Write images, labels and ``classes.json`` below ``folder`` and return it; equal parameters give equal bytes.

    ``progress(done, total, what)`` is called after each frame. BadInput if the folder is a file or not empty.
    """
    params = params or StreetParams()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: exists and is not an empty folder; name another or empty it first")
    total, done = params.frames * sum(params.sequences(split) for split in SPLITS), 0
    for split in SPLITS:
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number in range(params.sequences(split)):
            for at, frame in enumerate(render_sequence(params, split, number)):
                name = f"{split}{number:03d}_{at:06d}"
                (images / f"{name}.jpg").write_bytes(encode_jpeg(frame.rgb, _JPEG_QUALITY))
                (labels / f"{name}.png").write_bytes(encode_png(frame.labels))
                done += 1
                if progress is not None:
                    progress(done, total, "street")
    # Last, because a folder without it is not a data set: an interrupted call cannot be mistaken for a finished one.
    (folder / "classes.json").write_text(json.dumps(_description(params), indent=1) + "\n", encoding="utf-8")
    return folder


def _description(params: StreetParams) -> dict[str, object]:
    classes = [{"index": at, "name": info.name, "color": list(info.color)} for at, info in enumerate(CLASSES)]
    return {
        "name": "street",
        "frame_rate": FRAME_RATE,
        "ignore_index": VOID,
        "ignore_color": [0, 0, 0],
        "classes": classes,
        "street": params.model_dump(mode="json"),
    }
