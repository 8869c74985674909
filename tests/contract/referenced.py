"""Images that a test imports by reference, and the import itself, called as by the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from minio import Minio

from tessera.cli import images as command
from tessera.formats.images import encode_png
from tessera.formats.manifests import DatasetManifest, dataset_from_json
from tessera.runtime.objects import ObjectStore, open_store
from tessera.runtime.settings import load

BUCKET = "camera-images"


def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8))


class Place:
    """Where the images of a test are: a folder, or a prefix of a bucket of the S3 server."""

    def __init__(self, source: str, folder: Path, store: str, client: Minio | None) -> None:
        self.source, self.store, self._folder, self._client = source, store, folder, client

    def write(self, name: str, data: bytes) -> None:
        if self._client is None:
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return
        self._client.put_object(BUCKET, f"{self._prefix}/{name}", io.BytesIO(data), len(data))

    def remove(self, name: str) -> None:
        if self._client is None:
            (self._folder / name).unlink()
        else:
            self._client.remove_object(BUCKET, f"{self._prefix}/{name}")

    @property
    def _prefix(self) -> str:
        return self.source.removeprefix(f"s3://{BUCKET}/")


def manifest_of(said: str) -> DatasetManifest:
    told = json.loads(said.splitlines()[-1])
    path = Path(told["store"].removeprefix("file://")) / told["manifest"]
    return dataset_from_json(path.read_bytes())


def opened(place: Place) -> ObjectStore:
    return open_store(place.store, load(store=place.store, s3_attempts=2))


def imported(place: Place, classes: Path, **options: object) -> str:
    return command.import_images(command.Wanted(place.source, place.store, classes, "camera", **options))  # type: ignore[arg-type]
