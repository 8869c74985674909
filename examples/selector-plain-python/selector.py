"""A selector in place of Tessera's, from the protos alone: the stages `random` and `top`, for budgets in regions."""

import io
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from os import environ as ENV

import grpc
import minio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from contract.common_pb2 import ObjectRef
from contract.selector_pb2 import SelectResponse
from contract.selector_pb2_grpc import SelectorServiceServicer, add_SelectorServiceServicer_to_server
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from urllib3.exceptions import HTTPError

REGION = ("image_id", "region_id")
COLUMNS = {"rank": "int32", "image_id": "string", "region_id": "int32", "score": "float32", "cluster": "int32"}
BUCKET, PREFIX = ENV["TESSERA_STORE"].removeprefix("s3://").split("/", 1)
USER = {"access_key": ENV["TESSERA_S3_ACCESS_KEY"], "secret_key": ENV["TESSERA_S3_SECRET_KEY"], "region": "us-east-1"}
S3 = minio.Minio(ENV["TESSERA_S3_ENDPOINT"], **USER, secure=ENV.get("TESSERA_S3_SECURE") != "false")
ERRORS = (  # what is raised here, and what the contract calls it
    (FileNotFoundError, grpc.StatusCode.DATA_LOSS, "corrupt_object"),
    ((minio.error.MinioException, HTTPError), grpc.StatusCode.UNAVAILABLE, "unavailable"),
    ((KeyError, TypeError, ValueError), grpc.StatusCode.INVALID_ARGUMENT, "bad_input"),
    (Exception, grpc.StatusCode.INTERNAL, "internal"),
)


def rank(request, pool):
    """The strategy: the best regions of the pool first, each with its score."""
    stage = request.stages[0]
    match stage.name, json.loads(stage.parameters):
        case "random", {"count": count, "share": None}:
            mixed = np.random.default_rng([request.seed, 0]).permutation(np.array(sorted(pool), dtype=object))
            return [(*region, np.nan) for region in mixed[:count]]
        case "top", {"by": column, "count": count, "descending": True}:
            scored = {row for row in rows(request.scores, *REGION, column) if row[:2] in pool}
            return sorted(scored, key=lambda row: (-row[2], row))[:count]
    raise ValueError(f"stages[0]: {stage.name!r} with {stage.parameters} is not served here, only random and top")


def rows(refs, *columns):
    """The rows of stored tables, with these columns. Every table is verified before it is read."""
    for ref in refs:
        if ref.bucket != BUCKET:
            raise ValueError(f"object {ref.key}: is in bucket {ref.bucket!r}, this store is {BUCKET!r}")
        try:
            data = S3.get_object(BUCKET, f"{PREFIX}/{ref.key}").data
        except minio.error.MinioException as error:
            if "NoSuchKey" not in str(error):  # the store is away
                raise
            data = b""
        if sha256(data).hexdigest() != ref.sha256:
            raise FileNotFoundError(f"object {ref.key}: is lost or damaged")
        table = pq.read_table(io.BytesIO(data), columns=list(columns))
        yield from zip(*(table[name].to_pylist() for name in columns), strict=True)


class Selector(SelectorServiceServicer):
    def Select(self, request, context):
        try:
            return self.select(request)
        except Exception as error:
            status, reason = next((status, reason) for kind, status, reason in ERRORS if isinstance(error, kind))
            context.set_trailing_metadata((("tessera-reason", reason),))
            context.abort(status, f"request: {error}")

    def select(self, request):
        """Equal requests give equal bytes, and labelled regions are never chosen."""
        if len(request.stages) != 1 or request.HasField("candidates") or request.budget.unit != "regions":
            raise ValueError("this selector takes one stage, no candidates, and a budget in regions")
        labelled, budget = set(rows(request.ledgers, *REGION)), int(request.budget.amount)
        pool = set(rows([shard.regions for shard in request.shards], *REGION)) - labelled
        if not 1 <= budget <= len(pool):
            raise ValueError(f"budget: {budget} regions are asked for and {len(pool)} are left; lower it")
        chosen = rank(request, pool)[:budget]
        table = [dict(zip(COLUMNS, (place, *row, -1), strict=True)) for place, row in enumerate(chosen)]
        pq.write_table(pa.Table.from_pylist(table, pa.schema(COLUMNS)), packed := io.BytesIO(), compression="zstd")
        sha = sha256(data := packed.getvalue()).hexdigest()
        selection = ObjectRef(bucket=BUCKET, key=f"cas/sha256/{sha[:2]}/{sha[2:]}", sha256=sha, size=len(data))
        selection.media_type = "application/vnd.apache.parquet"
        S3.put_object(BUCKET, f"{PREFIX}/{selection.key}", io.BytesIO(data), len(data), selection.media_type)
        names = sha256("".join(f"{image}\t{region}\n" for image, region, _ in chosen).encode()).hexdigest()
        return SelectResponse(selection=selection, selection_sha256=names, count=len(chosen))


if __name__ == "__main__":
    server, alive = grpc.server(ThreadPoolExecutor(8)), health.HealthServicer()
    add_SelectorServiceServicer_to_server(Selector(), server)
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    alive.set("tessera.v1.SelectorService", health_pb2.HealthCheckResponse.SERVING)
    signal.signal(signal.SIGTERM, lambda *_: server.stop(60))  # running calls end first
    print("serving on port", server.add_insecure_port(ENV.get("ADDRESS", "127.0.0.1:50061")), flush=True)
    server.start()
    server.wait_for_termination()
