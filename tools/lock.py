"""Write hash-pinned lock files: one for each service image (locks/<service>.lock), for the client image
(locks/client.lock), for the whole program (locks/cli.lock), for what makes its wheel (locks/build.lock), for
development (locks/dev.lock), for models from Hugging Face and the tracker MLflow (locks/hf.lock and locks/mlflow.lock,
which fit beside locks/dev.lock), and for the Label Studio that tests start (locks/label-studio.lock, which does not).

torch stays out of every lock (locks/overrides.txt): its CPU and CUDA builds carry one version number and different
hashes, so it is installed first, by itself (`make setup`), at a version the locked packages accept.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICES = (
    *("partitioner", "scorer", "embedder", "selector", "trainer", "oracle", "evaluator", "coordinator"),
    "dashboard",
)
# A path relative to the repository, because uv names it in the locks.
OVERRIDES = "locks/overrides.txt"
# Whoever runs an image decides whether it traces (TESSERA_TRACING).
TRACED = ("--extra", "otel")
WITH_TORCH = ("scorer", "embedder", "trainer", "evaluator")


def compile_lock(name: str, selection: list[str], *, project: bool = True) -> None:
    """Resolve ``selection`` of pyproject.toml into locks/<name>.lock, all platforms and Python versions in one file.

    ``project``: with what every process needs; without it, only what ``selection`` names.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--overrides", OVERRIDES]
    command += ["--custom-compile-command", "make lock", *selection, "--output-file", f"locks/{name}.lock"]
    subprocess.run([*command, *(["pyproject.toml"] if project else [])], cwd=ROOT, check=True)


def main() -> None:
    """Write every lock file; existing pins are kept where they still fit."""
    compile_lock("dev", ["--extra", "cli", "--extra", "otel", "--extra", "onnx", "--extra", "cvat", "--group", "dev"])
    compile_lock("hf", ["--extra", "hf", "--constraints", "locks/dev.lock"])
    compile_lock("mlflow", ["--extra", "mlflow", "--constraints", "locks/dev.lock"])
    compile_lock("label-studio", ["--group", "label-studio"], project=False)
    compile_lock("build", ["--group", "build"], project=False)
    for whole in ("client", "cli"):
        compile_lock(whole, ["--extra", whole, *TRACED])
    for service in SERVICES:
        needs = ["--group", "torch"] if service in WITH_TORCH else []
        compile_lock(service, ["--extra", service, *TRACED, *needs])


if __name__ == "__main__":
    main()
