"""Budgets and sizes that are no numbers, or at the edge (S12): each is refused by name, or does what it says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memory_blobs import MemoryBlobs
from services.selector import compute
from tessera.acquisition.selection.budget import UNITS, Budget
from tessera.acquisition.selection.pipeline import Stage, run_stages
from tessera.acquisition.selection.pool import Pool
from tessera.datasets.samples import read_classes
from tessera.errors import BadInput
from tessera.formats import images, schemas, tables
from tessera.formats.media import PARQUET
from tessera.loop.reading import parse
from tessera.pb.common_pb2 import AxisValue, ObjectRef, RegionShard
from tessera.pb.selector_pb2 import Budget as WireBudget
from tessera.pb.selector_pb2 import SelectRequest
from tessera.regions import partition, region_table
from unit.loop.simulator import mapping

RECIPE = mapping("meal_camvid_meal_frozen")
NONE_SUCH = (-1, 0, math.nan, math.inf, -math.inf, 1e300, 2**63, "ten", "", None, [], {})
PLACES = (
    "budget.per_round",
    "training.epochs",
    "selection.shortlist.0.count",
    "runtime.shard_images",
)


@pytest.mark.parametrize("place", PLACES)
def test_a_number_of_a_recipe_is_refused_by_name_or_bounded_by_the_pool(place: str) -> None:
    for value in NONE_SUCH:
        refusal = _refusal(place, value)
        # A shortlist takes what there is; null stands for the default.
        allowed = value is None or place.startswith("selection.")
        assert refusal or allowed, value
        assert not refusal or (place.rpartition(".")[2] in refusal and "\n" not in refusal), value


def _refusal(place: str, value: object) -> str:
    """Why a recipe with this value is refused; empty where it is not."""
    try:
        parse(RECIPE, {place: value})
    except BadInput as error:
        return str(error)
    return ""


def _pool(regions: int) -> Pool:
    ids = np.array([f"i{at}" for at in range(regions)], object)
    return Pool.build(image_ids=ids, region_ids=np.zeros(regions, np.int32), pixels=np.ones(regions, np.int64))


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_a_budget_of_a_call_is_refused_whatever_its_unit(unit: str) -> None:
    stage = Stage("random", "{}")
    for amount in (-1.0, 0.0, math.nan, math.inf, -math.inf):
        with pytest.raises(BadInput, match=r"budget: .* cannot be asked for; give a positive"):
            run_stages(_pool(3), [stage], Budget(unit, amount), 1)
    if UNITS[unit].whole:
        with pytest.raises(BadInput, match="give a positive whole number"):
            run_stages(_pool(3), [stage], Budget(unit, 1.5), 1)
    for cheapest in (-1.0, 0.0, math.nan, math.inf):
        with pytest.raises(BadInput, match="cheapest"):
            run_stages(_pool(3), [stage], Budget(unit, 1.0, cheapest), 1)
    if UNITS[unit].known:
        with pytest.raises(BadInput, match=r"budget: 9\.22337203685478e\+18 .* are asked for and 3 unlabelled"):
            run_stages(_pool(3), [stage], Budget(unit, 2.0**63), 1)
    else:
        # Its price comes with the answers: all that is left is asked.
        assert len(run_stages(_pool(3), [stage], Budget(unit, 2.0**63), 1).rows) == 3


@pytest.mark.parametrize("name", ["random", "top"])
def test_a_count_beyond_every_pool_takes_what_there_is(name: str) -> None:
    pool = _pool(3).with_scores(*_scores(3))
    given: dict[str, Any] = {"count": 2**63} | ({"by": "s"} if name == "top" else {})
    assert len(run_stages(pool, [Stage(name, json.dumps(given))], None, 1).rows) == 3


def _scores(regions: int) -> tuple[Any, Any, dict[str, Any]]:
    pool = _pool(regions)
    return pool.image_names[pool.image], pool.region_id, {"s": np.arange(regions, dtype=np.float32)}


@pytest.mark.parametrize("count", [0, 1, 255, 256, 65_536])
def test_a_list_of_classes_has_between_one_and_255(tmp_path: Path, count: int) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(f"class {at}" for at in range(count)))
    if 1 <= count <= 255:
        assert len(read_classes(path).classes) == count
    else:
        with pytest.raises(BadInput, match=rf"classes\.txt: {count} classes .*give 1 to 255"):
            read_classes(path)


def test_one_image_of_one_pixel_is_a_pool_of_one_region() -> None:
    shape = images.decode_rgb(images.encode_png(np.zeros((1, 1, 3), np.uint8)), "one.png").shape
    table = region_table(partition("grid", {"rows": 1, "cols": 1}, shape[:2]))
    assert table.pixels.tolist() == [1]
    blobs = MemoryBlobs()
    columns = {"image_id": ["one"], "region_id": [0], "pixels": [1], "x0": [0], "y0": [0], "x1": [1], "y1": [1]}
    dtypes = {"image_id": object}
    arrays = {name: np.array(value, dtypes.get(name, np.int32)) for name, value in columns.items()}
    ref: ObjectRef = blobs.write(tables.write(schemas.REGIONS, arrays), PARQUET)
    request = SelectRequest(
        shards=[RegionShard(regions=ref, region_count=1)],
        stages=[AxisValue(name="random", parameters="{}")],
        budget=WireBudget(unit="regions", amount=1),
    )
    assert compute.select(request, blobs).count == 1
    request.budget.amount = 2
    with pytest.raises(BadInput, match="2 regions are asked for and 1 unlabelled"):
        compute.select(request, blobs)
