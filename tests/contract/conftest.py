"""Fixtures of the tests of images by reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from minio import Minio

from contract.referenced import BUCKET, Place
from servers import ACCESS_KEY, SECRET_KEY, S3Process


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("TESSERA_CACHE_DIR", str(tmp_path / "cache"))
    store = (tmp_path / "store").as_uri()
    if request.param == "file":
        (tmp_path / "camera").mkdir()
        yield Place(str(tmp_path / "camera"), tmp_path / "camera", store, None)
        return
    server: S3Process = request.getfixturevalue("s3_server")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    client = Minio(server.endpoint, ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1")
    if not client.bucket_exists(BUCKET):
        client.make_bucket(BUCKET)
    yield Place(f"s3://{BUCKET}/{tmp_path.name}", tmp_path, store, client)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("road\nsky\n")
    return path
