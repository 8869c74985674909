"""An earlier version of Tessera, beside which this one must work."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from integration.loop import environment

ROOT = Path(__file__).parents[2]
COMMIT = "4fd54ae99b6eeaadf322180b847b057ceceedb17"
"""The first version that was made into images (`.ci/images` makes them again, under the tag "old")."""
_ALGORITHMS = (
    "import json; from tessera.runtime.catalogue import methods; "
    "print(json.dumps({name: method.algorithm for name, (_, method) in methods().items()}))"
)


def source(folder: Path) -> Path:
    """Return the checkout of the earlier version, made below a folder; skips the test where its commit is not here."""
    old = folder / "old"
    if not old.exists():
        command = ["git", "-C", str(ROOT), "archive", COMMIT, "shared", "services", "recipes"]
        packed = subprocess.run(command, capture_output=True, check=False)
        if packed.returncode != 0:
            pytest.skip(f"commit {COMMIT} is not in this checkout: {packed.stderr.decode()[:200]}")
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(old, filter="data")
    return old


def same_algorithms(folder: Path) -> bool:
    """Whether this version computes what the earlier one did: each of its methods has the same algorithm version.

    Where one has changed, a run that the earlier version began ends, but chooses otherwise than a run of this one.
    """
    then, now = (_algorithms(each) for each in (source(folder), ROOT))
    changed = {name: (version, now.get(name)) for name, version in then.items() if now.get(name) != version}
    print("algorithms that have changed since the earlier version:", changed or "none")
    return not changed


def _algorithms(checkout: Path) -> dict[str, str]:
    asked = subprocess.run(
        [sys.executable, "-c", _ALGORITHMS],
        cwd=checkout,
        env=environment(PYTHONPATH=f"{checkout / 'shared'}:{checkout}"),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(asked.stdout)
    return found
