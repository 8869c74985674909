"""A small round of questions in a store: images whose quarters are the regions, and the truth about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tessera.formats import images, manifests, schemas, tables
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.formats.media import PARQUET
from tessera.pb.common_pb2 import AxisValue, ObjectRef
from tessera.pb.questions_pb2 import CollectRequest
from tessera.queries.given import mask_to_runs
from tessera.runtime.objects import ObjectStore

SIDE, REGIONS = 8, 4
PARTS = ("bucket", "key", "sha256", "size", "media_type")


@dataclass(frozen=True)
class SmallRound:
    """References of the round, and the truth by image."""

    manifest: ObjectRef
    questions: ObjectRef
    count: int
    truth: dict[str, np.ndarray[Any, np.dtype[np.uint8]]]

    def request(self, query: str = "mask", parameters: str = "{}", **oracle: Any) -> CollectRequest:
        """Ask the questions of people."""
        from tessera.queries import ORACLES

        who = AxisValue(name="human", parameters=ORACLES.canonical("human", {"undo_seconds": 0, **oracle}))
        return CollectRequest(
            questions=self.questions,
            manifest=self.manifest,
            query=AxisValue(name=query, parameters=parameters),
            oracle=who,
        )


async def small_round(store: ObjectStore, pictures: int = 2) -> SmallRound:
    """Write images, manifest and the table of questions; 4 questions per image."""
    rng = np.random.default_rng(3)
    regions = np.kron(np.arange(REGIONS).reshape(2, 2), np.ones((SIDE // 2, SIDE // 2), int))
    items, truth = [], {}
    rows: dict[str, list[Any]] = {name: [] for name in schemas.QUESTIONS.names}
    for number in range(pictures):
        name = f"image{number}"
        rgb = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        image = await store.put_content(images.encode_png(rgb), "image/png")
        items.append(ImageItem(name, image, SIDE, SIDE, "s", float(number)))
        truth[name] = rng.integers(0, 3, (SIDE, SIDE)).astype(np.uint8)
        for region in range(REGIONS):
            ys, xs = np.nonzero(regions == region)
            box = {"y0": ys.min(), "x0": xs.min(), "y1": ys.max() + 1, "x1": xs.max() + 1}
            inside = (regions == region)[box["y0"] : box["y1"], box["x0"] : box["x1"]]
            row = {
                "rank": len(rows["rank"]), "image_id": name, "region_id": region, "height": SIDE, "width": SIDE,
                "sequence": "s", "time": float(number), **box, "pixels": len(ys), "points": b"",
                "region": np.array(mask_to_runs(inside), "<u4").tobytes(),
                **{f"image_{part}": getattr(image, part) for part in PARTS},
                **{f"prediction_{part}": 0 if part == "size" else "" for part in PARTS},
                **{f"superpixels_{part}": 0 if part == "size" else "" for part in PARTS},
            }  # fmt: skip
            for key, value in row.items():
                rows[key].append(value)
    classes = tuple(ClassInfo(f"class {index}", (index, 2 * index, 3 * index)) for index in range(3))
    manifest = DatasetManifest("small", classes, {"train": tuple(items)})
    return SmallRound(
        await store.put_content(manifests.dataset_to_json(manifest), "application/json"),
        await store.put_content(tables.write(schemas.QUESTIONS, rows), PARQUET),
        len(rows["rank"]),
        truth,
    )
