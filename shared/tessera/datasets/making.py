"""Write a pool to disk, as a data set folder of the native layout that records the origin of each image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tessera.datasets.augment import apply
from tessera.datasets.contents import image_bytes, label_bytes
from tessera.datasets.layouts.native import FRAMES
from tessera.datasets.pools import POOLS, PoolImage
from tessera.datasets.reader import links_out, read_dataset
from tessera.datasets.samples import Source, video_place
from tessera.errors import BadInput
from tessera.formats.images import decode_labels, decode_rgb, encode_jpeg, encode_png, probe
from tessera.formats.keys import check_image_id

PROVENANCE = "pool.json"

# JPEG quality of duplicates, which cannot keep the bytes of their original.
_JPEG_QUALITY = 95


def make_pool(
    kind: str,
    source: Path,
    folder: Path,
    parameters: Mapping[str, Any],
    seed: int = 0,
    layout: str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Make a pool of ``kind`` from the data set in ``source`` below ``folder`` and return it.

    ``parameters`` are the pool's, ``settings`` those of the source's ``layout`` (None detects it). Images are copied
    byte for byte, only changed duplicates are encoded anew (JPEG); label maps become class indices. ``frames.json``
    keeps videos and times where names alone would not, ``pool.json`` the kind, the parameters, the seed, and for each
    image its origin, its change and the SHA-256 of its bytes. Equal arguments give equal bytes. ``tell`` is called with
    a note about files outside the source. BadInput when the folder is not empty, the parameters do not fit the source,
    or a file is bad.
    """
    entry = POOLS.entry(kind)
    params = POOLS.parameters(kind, dict(parameters))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: exists and is not an empty folder; name another or empty it first")
    data = read_dataset(source, layout, settings=settings)
    if data.elsewhere and tell is not None:
        tell(links_out(data))
    entries = entry.function(data, params, seed)
    for made in entries:
        check_image_id(made.image_id, f"pool {kind}")
    origins: dict[str, dict[str, Any]] = {}
    for done, made in enumerate(entries, start=1):
        origins[made.image_id] = _write(folder, made, data)
        if progress is not None:
            progress(done, len(entries), "pool")
    _write_frames(folder, entries, data)
    _write_json(
        folder / PROVENANCE,
        {
            "kind": kind,
            "parameters": params.model_dump(mode="json"),
            "seed": seed,
            "source": {
                "folder": source.resolve().name,
                "layout": data.layout,
                "settings": dict(settings or {}),
                "images": {split: len(samples) for split, samples in data.splits.items()},
            },
            "evaluate": list(entry.traits.evaluate),
            "images": origins,
        },
    )
    # Last, because a folder without it is not a data set: an interrupted call cannot be mistaken for a finished one.
    _write_json(folder / "classes.json", _classes(data, kind))
    return folder


def _write(folder: Path, entry: PoolImage, source: Source) -> dict[str, Any]:
    """Write one image and its label map; returns its origin."""
    sample = entry.sample
    image = image_bytes(sample)
    info = probe(image, str(sample.image_path))
    label = label_bytes(sample, source, (info.height, info.width))
    extension = info.extension
    if entry.change is not None:
        rgb = decode_rgb(image, str(sample.image_path))
        changed, moved = apply(rgb, decode_labels(label, str(sample.label_path)), entry.change)
        image, label, extension = encode_jpeg(changed, _JPEG_QUALITY), encode_png(moved), "jpg"
    for kind, data, suffix in (("images", image, extension), ("labels", label, "png")):
        path = folder / kind / entry.split / f"{entry.image_id}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    origin: dict[str, Any] = {
        "split": entry.split,
        "from": f"{sample.split}/{sample.image_id}",
        "sha256": hashlib.sha256(image).hexdigest(),
    }
    return origin if entry.change is None else {**origin, "change": asdict(entry.change)}


def _write_frames(folder: Path, entries: tuple[PoolImage, ...], source: Source) -> None:
    """Write video and time of every image, where its name would give others."""
    rate = source.classes.frame_rate
    if any(video_place(e.image_id, rate) != (e.sample.sequence, e.sample.time) for e in entries):
        placed = {e.image_id: e.sample for e in entries if e.sample.sequence}
        _write_json(
            folder / FRAMES, {name: {"sequence": s.sequence, "time": s.time} for name, s in sorted(placed.items())}
        )


def _classes(source: Source, kind: str) -> dict[str, Any]:
    return {
        "name": source.name if kind == "copy" else f"{source.name}-{kind}",
        "frame_rate": source.classes.frame_rate,
        "ignore_index": source.classes.ignore_index,
        **({"task": source.classes.task} if source.classes.task != "segmentation" else {}),
        "classes": [
            {"index": at, "name": info.name, "color": list(info.color)}
            for at, info in enumerate(source.classes.classes)
        ],
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
