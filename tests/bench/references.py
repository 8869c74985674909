"""Measure an import by reference from a real S3 server: ``python tests/bench/references.py 2500``.

The floor is a plain loop with the same client library, and as many requests under way: get every object, hash it. The
import looks into every image besides, so a second floor decodes it. Floors and import read from the same server.
"""

from __future__ import annotations

import hashlib
import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import urllib3
from minio import Minio
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers import ACCESS_KEY, SECRET_KEY, S3Process, running
from tessera.cli import images
from tessera.runtime.importing import AT_ONCE


@dataclass(frozen=True)
class Measured:
    """Seconds on the clock and of the CPU for all images, and the memory that the process had at most, in MiB."""

    seconds: float
    cpu: float
    memory: int


def measured(work: Callable[[], object]) -> Measured:
    began, cpu = time.monotonic(), time.process_time()
    work()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return Measured(time.monotonic() - began, time.process_time() - cpu, memory)


def plain(server: S3Process, *, decode: bool) -> None:
    """Get and hash every object of the bucket, and decode it if asked to."""
    pool = urllib3.PoolManager(maxsize=AT_ONCE)
    client = Minio(server.endpoint, ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1", http_client=pool)

    def one(name: str) -> str:
        response = client.get_object(bucket_name="frames", object_name=name)
        try:
            data = response.read()
        finally:
            response.close()
            response.release_conn()
        if decode:
            Image.open(io.BytesIO(data)).load()
        return hashlib.sha256(data).hexdigest()

    names = [str(found.object_name) for found in client.list_objects(bucket_name="frames", recursive=True)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert len(set(threads.map(one, names))) == len(names)
    pool.clear()


def compared(count: int, folder: Path) -> dict[str, Measured]:
    """Measure the import of ``count`` JPEGs of 480×360 pixels between two runs of each floor; the faster floors count.

    A machine that others use, too, is faster at one time than at another.
    """
    with running(S3Process(folder / "s3")) as server:
        assert isinstance(server, S3Process)
        frames = server.data / "frames"
        frames.mkdir(parents=True)
        blocks = np.random.default_rng(0).integers(0, 255, (count, 45, 60), np.uint8)
        for at, block in enumerate(blocks):
            Image.fromarray(np.kron(block, np.ones((8, 8), np.uint8))).convert("RGB").save(frames / f"{at:06d}.jpg")
        (folder / "classes.txt").write_text("road\nsky\n")
        before = dict(os.environ)
        os.environ.update(server.environment() | {"TESSERA_CACHE_DIR": str(folder / "cache")})
        try:
            wanted = images.Wanted("s3://frames", (folder / "store").as_uri(), folder / "classes.txt", "frames")
            floors = {"get and hash": False, "get, hash, decode": True}
            first = {name: measured(partial(plain, server, decode=decode)) for name, decode in floors.items()}
            made = measured(partial(images.import_images, wanted))
            again = {name: measured(partial(plain, server, decode=decode)) for name, decode in floors.items()}
        finally:
            os.environ.clear()
            os.environ.update(before)
    best = {name: min(first[name], again[name], key=lambda one: one.cpu) for name in floors}
    return {**best, "import": made}


def main(count: int) -> None:
    """Print objects a second, milliseconds of CPU for each, and both as shares of the floors."""
    with tempfile.TemporaryDirectory() as name:
        found = compared(count, Path(name))
    for what, one in found.items():
        speed, busy = count / one.seconds, 1e3 * one.cpu / count
        sys.stdout.write(f"{what:<18} {speed:6.0f} objects/s {busy:6.2f} ms of CPU each {one.memory:5} MiB\n")
    made = found.pop("import")
    for what, floor in found.items():
        time_, cpu = made.seconds / floor.seconds, made.cpu / floor.cpu
        sys.stdout.write(f"import / {what}: {time_:.2f} of its time, {cpu:.2f} of its CPU\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
