"""An S3 server that somebody else runs, in the place of the one that tests start: TESSERA_TEST_S3_ENDPOINT names it."""

from __future__ import annotations

import io
import os
import uuid

from minio import Minio

_ENDPOINT = "TESSERA_TEST_S3_ENDPOINT"


class GivenS3:
    """A server with a bucket of this test session, by TESSERA_TEST_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY and _SECURE.

    Whoever runs the tests removes the bucket; what they write is a few hundred kilobytes.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.bucket = os.environ.get("TESSERA_TEST_S3_BUCKET") or f"tessera-test-{uuid.uuid4().hex[:8]}"
        self._keys = {name: os.environ[f"TESSERA_TEST_S3_{name}"] for name in ("ACCESS_KEY", "SECRET_KEY")}
        self._secure = os.environ.get("TESSERA_TEST_S3_SECURE", "false")
        if not self._client.bucket_exists(bucket_name=self.bucket):
            self._client.make_bucket(bucket_name=self.bucket)

    @property
    def _client(self) -> Minio:
        return Minio(
            endpoint=self.endpoint,
            access_key=self._keys["ACCESS_KEY"],
            secret_key=self._keys["SECRET_KEY"],
            secure=self._secure == "true",
            region="us-east-1",
        )

    def environment(self) -> dict[str, str]:
        """Variables with which a process finds this server."""
        keys = {f"TESSERA_S3_{name}": value for name, value in self._keys.items()}
        return {**keys, "TESSERA_S3_ENDPOINT": self.endpoint, "TESSERA_S3_SECURE": self._secure}

    def overwrite(self, path: str, data: bytes) -> None:
        """Write ``bucket/key`` as another program does."""
        bucket, key = path.split("/", 1)
        self._client.put_object(bucket_name=bucket, object_name=key, data=io.BytesIO(data), length=len(data))


def given_s3() -> GivenS3 | None:
    """Return the server that the environment names."""
    endpoint = os.environ.get(_ENDPOINT)
    return GivenS3(endpoint) if endpoint else None
