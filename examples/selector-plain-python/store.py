"""The object store of any service: objects by reference, tables as rows, and what is said of bad ones."""

import io
import os
from hashlib import sha256

import minio
import pyarrow.parquet as pq
from contract.common_pb2 import ObjectRef
from google.protobuf.message import DecodeError

ENV = os.environ
BUCKET, PREFIX = ENV["TESSERA_STORE"].removeprefix("s3://").split("/", 1)
USER = {"access_key": ENV["TESSERA_S3_ACCESS_KEY"], "secret_key": ENV["TESSERA_S3_SECRET_KEY"], "region": "us-east-1"}
S3 = minio.Minio(ENV["TESSERA_S3_ENDPOINT"], **USER, secure=ENV.get("TESSERA_S3_SECURE") != "false")


class Lost(Exception):
    """An object that is lost or damaged: a sentence, and its reference."""


BAD = (Lost, DecodeError, KeyError, TypeError, ValueError)  # what no further attempt can help


def told(error):
    """What a JobFailure says of an error of these."""
    if isinstance(error, Lost):
        return {"message": error.args[0], "reason": "corrupt_object", "exit_code": 3, "object": error.args[1]}
    return {"message": f"request: {error}", "reason": "bad_input", "exit_code": 2}


def get(ref):
    """The bytes of a reference, verified."""
    if ref.bucket != BUCKET:
        raise ValueError(f"object {ref.key}: is in bucket {ref.bucket!r}, this store is {BUCKET!r}")
    try:
        data = S3.get_object(BUCKET, f"{PREFIX}/{ref.key}").data
    except minio.error.MinioException as error:
        if "NoSuchKey" not in str(error):  # the store is away
            raise
        data = None
    if data is None or sha256(data).hexdigest() != ref.sha256:
        raise Lost(f"object {ref.key}: is lost or damaged", ref)
    return data


def put(data, media_type, key=None):
    """Write under the hash of the content, or under this key, and return the reference."""
    sha = sha256(data).hexdigest()
    key = key or f"cas/sha256/{sha[:2]}/{sha[2:]}"
    S3.put_object(BUCKET, f"{PREFIX}/{key}", io.BytesIO(data), len(data), media_type)
    return ObjectRef(bucket=BUCKET, key=key, sha256=sha, size=len(data), media_type=media_type)


def rows(refs, *columns):
    """The rows of all these tables, each once, with these columns."""
    tables = [pq.read_table(io.BytesIO(get(ref)), columns=list(columns)) for ref in refs]
    return {row for table in tables for row in zip(*(table[name].to_pylist() for name in columns), strict=True)}
