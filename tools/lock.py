"""Write hash-pinned lock files: one a service image (locks/<service>.lock) and one for development (locks/dev.lock).

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


def compile_lock(name: str, selection: list[str], overrides: Path) -> None:
    """Resolve ``selection`` of pyproject.toml into locks/<name>.lock, all platforms and Python versions in one file."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--overrides", str(overrides)]
    command += ["--custom-compile-command", "make lock", *selection, "--output-file", f"locks/{name}.lock"]
    subprocess.run([*command, "pyproject.toml"], cwd=ROOT, check=True)


def main() -> None:
    """Write every lock file; existing pins are kept where they still fit."""
    (ROOT / "locks").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        overrides = Path(scratch) / "overrides.txt"
        overrides.write_text('torch ; sys_platform == "never"\n')
        compile_lock("dev", ["--extra", "cli", "--group", "dev"], overrides)
        for service in SERVICES:
            compile_lock(service, ["--extra", service], overrides)


if __name__ == "__main__":
    main()
