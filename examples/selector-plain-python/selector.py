"""A selector in place of Tessera's, from the protos alone: the stages `random` and `top`, for budgets in regions."""

import asyncio
import io
import json
import os
from hashlib import sha256

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from contract.selector_pb2 import SelectRequest, SelectResponse
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from jobs import Jobs
from store import BAD, Lost, put, rows, told

SERVICE, VERSION, REGION = "tessera.v1.SelectorService", "plain/1", ("image_id", "region_id")
COLUMNS = {"rank": "int32", "image_id": "string", "region_id": "int32", "score": "float32", "cluster": "int32"}


def rank(request, pool):
    """The strategy: the best regions of the sorted pool first, each with its score."""
    stage = request.stages[0]
    match stage.name, json.loads(stage.parameters):
        case "random", {"count": count, "share": None}:
            order = np.random.default_rng([request.seed, 0]).permutation(len(pool))
            return [(*pool[place], np.nan) for place in order[:count]]
        case "top", {"by": column, "count": count, "descending": True}:
            left = set(pool)
            scored = [row for row in rows(request.scores, *REGION, column) if row[:2] in left]
            return sorted(scored, key=lambda row: (-row[2], row))[:count]
    raise ValueError(f"stages[0]: {stage.name!r} with {stage.parameters} is not served here, only random and top")


def select(data):
    """SelectRequest in, SelectResponse out: equal requests give equal bytes, and labelled regions are never chosen."""
    request = SelectRequest.FromString(data)
    if len(request.stages) != 1 or request.HasField("candidates") or request.budget.unit != "regions":
        raise ValueError("this selector takes one stage, no candidates, and a budget in regions")
    labelled, budget = rows(request.ledgers, *REGION), int(request.budget.amount)
    pool = sorted(rows([shard.regions for shard in request.shards], *REGION) - labelled)
    if not 1 <= budget <= len(pool):
        raise ValueError(f"budget: {budget} regions are asked for and {len(pool)} are left; lower it")
    chosen = rank(request, pool)[:budget]
    table = [dict(zip(COLUMNS, (place, *row, -1), strict=True)) for place, row in enumerate(chosen)]
    pq.write_table(pa.Table.from_pylist(table, pa.schema(COLUMNS)), packed := io.BytesIO(), compression="zstd")
    names = sha256("".join(f"{image}\t{region}\n" for image, region, _ in chosen).encode()).hexdigest()
    selection = put(packed.getvalue(), "application/vnd.apache.parquet")
    return SelectResponse(selection=selection, selection_sha256=names, count=len(chosen)).SerializeToString()


async def answer(data, context):
    """The gRPC door."""
    try:
        return await asyncio.to_thread(select, data)
    except BAD as error:
        code = grpc.StatusCode.DATA_LOSS if isinstance(error, Lost) else grpc.StatusCode.INVALID_ARGUMENT
        await context.abort(code, told(error)["message"], (("tessera-reason", told(error)["reason"]),))


async def main():
    """Serve both doors until SIGTERM."""
    server, alive = grpc.aio.server(), health.aio.HealthServicer()
    methods = {"Select": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    await alive.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(os.environ.get("ADDRESS", "127.0.0.1:50061"))
    await server.start()
    print(f"{SERVICE} on port {port}", flush=True)
    await Jobs("Select", VERSION, select).work()
    await server.stop(1)


if __name__ == "__main__":
    asyncio.run(main())
