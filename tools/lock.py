"""Write hash-pinned lock files: one for each service image (locks/<service>.lock), for the client image
(locks/client.lock), for the whole program (locks/cli.lock), for what makes its wheel (locks/build.lock), and for
development (locks/dev.lock).

torch stays out of every lock: its CPU and CUDA builds carry one version number and different hashes, so it is installed
first, by itself (`make setup`), at a version the locked packages accept.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("partitioner", "scorer", "embedder", "selector", "trainer", "oracle", "evaluator", "coordinator")
WITH_TORCH = ("scorer", "embedder", "trainer", "evaluator")


def compile_lock(name: str, selection: list[str], overrides: Path, *, project: bool = True) -> None:
    """Resolve ``selection`` of pyproject.toml into locks/<name>.lock, all platforms and Python versions in one file.

    ``project``: with what every process needs; without it, only what ``selection`` names.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--overrides", str(overrides)]
    command += ["--custom-compile-command", "make lock", *selection, "--output-file", f"locks/{name}.lock"]
    subprocess.run([*command, *(["pyproject.toml"] if project else [])], cwd=ROOT, check=True)


def main() -> None:
    """Write every lock file; existing pins are kept where they still fit."""
    (ROOT / "locks").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        overrides = Path(scratch) / "overrides.txt"
        overrides.write_text('torch ; sys_platform == "never"\n')
        compile_lock("dev", ["--extra", "cli", "--group", "dev"], overrides)
        compile_lock("build", ["--group", "build"], overrides, project=False)
        for whole in ("client", "cli"):
            compile_lock(whole, ["--extra", whole], overrides)
        for service in SERVICES:
            needs = ["--group", "torch"] if service in WITH_TORCH else []
            compile_lock(service, ["--extra", service, *needs], overrides)


if __name__ == "__main__":
    main()
