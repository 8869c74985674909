"""Write the bill of materials (CycloneDX 1.6, JSON) of what the images install: ``make sbom``.

It is made from the lock files, which decide what is installed: every package once, with its version, the hashes that an
installation accepts, and the locks that name it. Equal locks give equal bytes, so that two releases can be compared.
torch stands outside the locks (see tools/lock.py), so it comes from the Makefile, without a hash.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What runs somewhere; locks/dev.lock, build.lock and hf.lock are for whoever works on the project.
LOCKS = (
    *("cli", "client", "coordinator", "dashboard", "embedder", "evaluator"),
    *("oracle", "partitioner", "scorer", "selector", "trainer"),
)
_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*\\?")
_HASH = re.compile(r"\s+--hash=sha256:([0-9a-f]{64})\s*\\?")
_TORCH = re.compile(r"^TORCH := torch==(\S+)$", re.MULTILINE)


def pins(lock: str, where: str) -> dict[tuple[str, str], list[str]]:
    """Return the hashes of each (name, version) of a lock; ValueError for a package without any, or a line unknown."""
    found: dict[tuple[str, str], list[str]] = {}
    hashes: list[str] | None = None
    for number, line in enumerate(lock.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        digest, pin = _HASH.fullmatch(line), _PIN.fullmatch(line)
        if digest is not None and hashes is not None:
            hashes.append(digest[1])
        elif pin is not None:
            hashes = found.setdefault((pin["name"].lower(), pin["version"]), [])
        else:
            raise ValueError(f"{where}, line {number}: {line.strip()[:80]!r} is no pinned package and no hash of one")
    bare = sorted(f"{name}=={version}" for (name, version), each in found.items() if not each)
    if bare:
        raise ValueError(f"{where}: {', '.join(bare)} without a hash; run make lock")
    return found


def bill(locks: dict[str, str], torch: str, version: str) -> dict[str, Any]:
    """Return the bill of the packages in these locks (name → content)."""
    packages: dict[tuple[str, str], tuple[set[str], set[str]]] = {("torch", torch): (set(), set())}
    for name, content in locks.items():
        for pin, hashes in pins(content, name).items():
            known, where = packages.setdefault(pin, (set(), set()))
            known.update(hashes)
            where.add(name)
    components = [_component(*pin, *found) for pin, found in sorted(packages.items())]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(json.dumps(components).encode()).hexdigest())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "tessera-al", "version": version}},
        "components": components,
    }


def _component(name: str, version: str, hashes: set[str], locks: set[str]) -> dict[str, Any]:
    purl = f"pkg:pypi/{name.replace('_', '-').replace('.', '-')}@{version}"
    component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if hashes:
        # One for each file of the release: a wheel for each platform, and the source. An installation takes one.
        files = [{"type": "distribution", "url": f"https://pypi.org/project/{name}/{version}/"}]
        files[0]["hashes"] = [{"alg": "SHA-256", "content": each} for each in sorted(hashes)]  # type: ignore[assignment]
        component["externalReferences"] = files
    component["properties"] = [{"name": "tessera:lock", "value": lock} for lock in sorted(locks)]
    return component


def main() -> None:
    """Write the bill of the named locks, default: of everything that runs."""
    target, *names = sys.argv[1:] or ["sbom.cdx.json"]
    locks = {name: (ROOT / "locks" / f"{name}.lock").read_text() for name in names or LOCKS}
    torch = _TORCH.search((ROOT / "Makefile").read_text())
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "shared/tessera/__init__.py").read_text())
    assert torch is not None  # noqa: S101  # a test of this tool reads both
    assert version is not None  # noqa: S101
    made = bill(locks, torch[1], version[1])
    Path(target).write_text(json.dumps(made, indent=1) + "\n")
    print(f"{target}: {len(made['components'])} packages of {len(locks)} locks")


if __name__ == "__main__":
    main()
