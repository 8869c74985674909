"""A selector of your own, in place of Tessera's: the stages `random` and `top`, for budgets in regions."""

import asyncio
import hashlib
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from doors import Refused, get, put, serve

from contract import selector_pb2

KEY = ["image_id", "region_id"]
ASCENDING = [(name, "ascending") for name in KEY]


def read(refs, columns):
    """These columns of all these Parquet tables, as one table."""
    return pa.concat_tables(pq.read_table(io.BytesIO(get(ref)), columns=columns) for ref in refs)


def keys(table):
    """The regions of a table: (image_id, region_id), in its order."""
    return list(zip(*(table[name].to_pylist() for name in KEY), strict=True))


def choose(request, stage, given, pool, count):
    """The first `count` regions that the stage ranks, and their scores."""
    if stage.name == "random":
        order = np.random.default_rng([request.seed, 0]).permutation(len(pool))
        return pool.take(order[:count]), pa.array([np.nan] * count, pa.float32())
    if stage.name == "top":
        order = [(given["by"], "descending" if given.get("descending", True) else "ascending"), *ASCENDING]
        scored = pool.join(read(request.scores, [*KEY, given["by"]]), KEY, join_type="inner")
        chosen = scored.sort_by(order).slice(0, count)
        return chosen, chosen[given["by"]]
    raise Refused(f"stages[0]: {stage.name!r} is not served here; known: random, top")


def select(request):
    """SelectRequest in, SelectResponse out: equal requests give equal bytes, and labelled regions are never chosen."""
    if len(request.stages) != 1 or request.HasField("candidates") or request.budget.unit != "regions":
        raise Refused("SelectRequest: this selector takes one stage, no candidates, and a budget in regions")
    stage, budget, labelled = request.stages[0], int(request.budget.amount), set()
    given = json.loads(stage.parameters or "{}")
    if given.get("share"):
        raise Refused(f"stages[0].share: {given['share']} is not served here; give count, or neither")
    if request.ledgers:
        labelled = set(keys(read(request.ledgers, KEY)))
    pool = read([shard.regions for shard in request.shards], KEY).sort_by(ASCENDING)
    pool = pool.filter(pa.array([key not in labelled for key in keys(pool)], pa.bool_()))
    if not 1 <= budget <= len(pool):
        raise Refused(f"budget: {budget} regions are asked for and {len(pool)} are left; lower it")
    count = min(given.get("count") or budget, budget)
    chosen, score = choose(request, stage, given, pool, count)
    columns = {
        "rank": pa.array(range(count), pa.int32()),
        **{name: chosen[name] for name in KEY},
        "score": score,
        "cluster": pa.array([-1] * count, pa.int32()),
    }
    pq.write_table(pa.table(columns), sink := io.BytesIO(), compression="zstd")
    lines = "".join(f"{image}\t{region}\n" for image, region in keys(chosen))
    return selector_pb2.SelectResponse(
        selection=put(sink.getvalue(), "application/vnd.apache.parquet"),
        selection_sha256=hashlib.sha256(lines.encode()).hexdigest(),
        count=count,
    )


if __name__ == "__main__":
    asyncio.run(serve("SelectorService", "Select", "plain/1", selector_pb2.SelectRequest, select))
