"""One selection over a large pool in a process of its own: ``python tests/bench/selector.py make|run …``.

The tables are what the services write: shards of 16 images, one score, 2-D points. Names of images are not in the order
of the shards, so that nothing is sorted by luck.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 16 * 2048
"""Regions per shard: 16 images of 2048×1024 in SEEDS of 32 pixels."""


class FolderBlobs:
    """Objects as files of a folder, named by their key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, ref: Any) -> bytes:
        return (self.folder / ref.key).read_bytes()

    def write(self, data: bytes, media_type: str) -> Any:
        from tessera.pb.common_pb2 import ObjectRef

        self.written = data
        return ObjectRef(key="out", sha256="0" * 64, size=len(data), media_type=media_type)

    def progress(self, fraction: float, note: str = "") -> None:
        return None


def make(folder: Path, regions: int, classes: int = 0) -> None:
    """Write the tables of a pool; with ``classes`` the columns of PixBal instead of an entropy."""
    from tessera.formats import manifests, schemas, tables
    from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
    from tessera.pb.common_pb2 import ObjectRef

    rng = np.random.default_rng(0)
    shards = -(-regions // ROWS)
    frames = rng.permutation(16 * shards)
    points: dict[str, list[Any]] = {"image_id": [], "region_id": [], "x0": [], "x1": []}
    items = []
    for shard in range(shards):
        names = [
            f"city_{frame // 30:04d}_{frame % 30:06d}_leftImg8bit" for frame in frames[16 * shard : 16 * shard + 16]
        ]
        ref = ObjectRef(bucket="b", key="datasets/x/i.png", sha256="0" * 64, size=1, media_type="image/png")
        items += [ImageItem(name, ref, 2048, 1024, name[:9], int(name[10:16]) / 17) for name in names]
        count = min(ROWS, regions - ROWS * shard)
        image_id = np.repeat(np.array(names, object), 2048)[:count]
        region_id = np.tile(np.arange(2048, dtype=np.int32), 16)[:count]
        pixels = rng.integers(200, 2000, count, dtype=np.int32)
        box = {name: np.zeros(count, np.int32) for name in ("y0", "x0", "y1", "x1")}
        key = {"image_id": image_id, "region_id": region_id}
        (folder / f"regions{shard}").write_bytes(tables.write(schemas.REGIONS, {**key, "pixels": pixels, **box}))
        columns = [f"{name}_{c}" for name in ("bvsb_by_class", "probability_mean") for c in range(classes)]
        score = {name: rng.random(count, dtype=np.float32) for name in columns or ["entropy_mean"]}
        (folder / f"scores{shard}").write_bytes(
            tables.write(schemas.scores(list(score)), {**key, "pixels": pixels, **score})
        )
        for name, values in {**key, **{f"x{at}": rng.normal(size=count).astype(np.float32) for at in (0, 1)}}.items():
            points[name].append(values)
    embedded = {name: np.concatenate(parts) for name, parts in points.items()}
    (folder / "embedding").write_bytes(tables.write(schemas.embedding(2), embedded))
    manifest = DatasetManifest("x", (ClassInfo("c", (0, 0, 0)),), {"train": tuple(items)})
    (folder / "manifest").write_bytes(manifests.dataset_to_json(manifest))
    take = rng.choice(regions, regions // 20, replace=False)
    done = {"image_id": embedded["image_id"][take].tolist(), "region_id": embedded["region_id"][take].tolist()}
    text = {field.name: ["x"] * len(take) for field in schemas.LEDGER if str(field.type) == "string"}
    numbers = {name: np.zeros(len(take), np.int64) for name in schemas.LEDGER.names if name not in text}
    (folder / "ledger").write_bytes(
        tables.write(schemas.LEDGER, {**numbers, **text, **done, "classes": [[0]] * len(take)})
    )


def run(folder: Path, stages: list[dict[str, Any]], count: int, seconds: float) -> dict[str, float]:
    """Select, and say how long it took and how much memory the process ever had."""
    from services.selector.compute import select
    from tessera.acquisition import STAGES
    from tessera.pb.common_pb2 import AxisValue, ImageRange, ObjectRef, RegionShard
    from tessera.pb.selector_pb2 import Budget, SelectRequest

    def ref(name: str) -> ObjectRef:
        return ObjectRef(key=name, sha256="0" * 64)

    shards = len(list(folder.glob("regions*")))
    request = SelectRequest(
        shards=[RegionShard(images=ImageRange(split="train"), regions=ref(f"regions{at}")) for at in range(shards)],
        scores=[ref(f"scores{at}") for at in range(shards)],
        ledgers=[ref("ledger")],
        budget=Budget(unit="regions", amount=count),
        seed=1,
    )
    for stage in stages:
        name, parameters = stage["name"], {key: value for key, value in stage.items() if key != "name"}
        traits = STAGES.entry(name).traits
        request.stages.append(AxisValue(name=name, parameters=STAGES.canonical(name, parameters)))
        if traits.needs_embedding:
            request.embedding.CopyFrom(ref("embedding"))
        if traits.needs_times:
            request.manifest.CopyFrom(ref("manifest"))
    if seconds:
        request.manifest.CopyFrom(ref("manifest"))
        request.constraints.append(AxisValue(name="min_seconds", parameters=f'{{"seconds":{seconds}}}'))
    blobs = FolderBlobs(folder)
    begun, cpu = time.perf_counter(), time.process_time()
    response = select(request, blobs)  # type: ignore[arg-type]
    assert response.count == count
    return {
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20),
    }


def main() -> None:
    """``make FOLDER REGIONS CLASSES`` or ``run FOLDER STAGES COUNT SECONDS``; prints one JSON line."""
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        found = run(Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
        print(json.dumps(found))


if __name__ == "__main__":
    main()
