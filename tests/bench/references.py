"""Measure an import by reference from a real S3 server: ``python tests/bench/references.py 2500``."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers import S3Process, running
from tessera.cli import images


def main(count: int) -> None:
    """Import ``count`` JPEGs of 480×360 pixels; print seconds, CPU seconds and memory."""
    with tempfile.TemporaryDirectory() as name, running(S3Process(Path(name) / "s3")) as server:
        assert isinstance(server, S3Process)
        folder = server.data / "frames"
        folder.mkdir(parents=True)
        blocks = np.random.default_rng(0).integers(0, 255, (count, 45, 60), np.uint8)
        for at, block in enumerate(blocks):
            Image.fromarray(np.kron(block, np.ones((8, 8), np.uint8))).convert("RGB").save(folder / f"{at:06d}.jpg")
        (Path(name) / "classes.txt").write_text("road\nsky\n")
        os.environ |= server.environment() | {"TESSERA_CACHE_DIR": f"{name}/cache"}
        began, cpu = time.monotonic(), time.process_time()
        store = (Path(name) / "store").as_uri()
        said = images.import_images(images.Wanted("s3://frames", store, Path(name) / "classes.txt", "frames"))
        seconds, busy = time.monotonic() - began, time.process_time() - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        sys.stdout.write(
            f"{said}\n{count / seconds:.0f} images/s, {1000 * busy / count:.1f} ms of CPU each, {memory} MiB\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
