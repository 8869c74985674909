"""What is installed (S20): every file by hash, a bill that lists all of it, and licences that allow it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "locks").glob("*.lock"))


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "tools" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sbom = _tool()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_package_of_every_lock_has_hashes(lock: Path) -> None:
    found = sbom.pins(lock.read_text(), lock.name)
    assert len(found) >= 5
    # Counted apart, by words: what the tool might overlook.
    assert len(found) == len(
        {line.split(" ")[0] for line in lock.read_text().splitlines() if re.match(r"\w.*==", line)}
    )
    assert sum(map(len, found.values())) == lock.read_text().count("--hash=sha256:")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("a==1.0\n", "a==1.0 without a hash"),
        (f"a==1.0 \\\n    --hash=sha256:{'0' * 64}\nb==2 \\\n    # via a\n", "b==2 without a hash"),
        ("a>=1.0\n", "line 1: 'a>=1.0' is no pinned package"),
        ("a @ https://example.org/a.whl\n", "line 1"),
        ("--index-url https://example.org\n", "line 1"),
        (f"    --hash=sha256:{'0' * 64}\n", "line 1"),
        (f"a==1.0 \\\n    --hash=md5:{'0' * 32}\n", "line 2"),
    ],
)
def test_a_lock_that_is_not_all_pins_and_hashes_is_refused(content: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        sbom.pins(content, "x.lock")


def _made(target: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "sbom.py"), str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(target.read_text())
    return made


def test_the_bill_lists_everything_that_runs_and_is_the_same_each_time(tmp_path: Path) -> None:
    made = _made(tmp_path / "one.json")
    assert _made(tmp_path / "two.json") == made
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["serialNumber"])
    assert len({one["bom-ref"] for one in made["components"]}) == len(made["components"])
    listed = {(one["name"], one["version"]): one for one in made["components"]}
    services = {path.parent.name for path in (ROOT / "services").glob("*/__main__.py")}
    assert services | {"client", "cli"} == set(sbom.LOCKS)
    for name in sbom.LOCKS:
        for (package, version), hashes in sbom.pins((ROOT / "locks" / f"{name}.lock").read_text(), name).items():
            one = listed[package, version]
            assert {"name": "tessera:lock", "value": name} in one["properties"]
            (files,) = one["externalReferences"]
            assert {each["content"] for each in files["hashes"]} >= set(hashes)
            assert one["purl"].startswith("pkg:pypi/")
    assert ("torch", re.search(r"torch==(\S+)", (ROOT / "Makefile").read_text())[1]) in listed  # type: ignore[index]


# Permissive, or weak copyleft that a program may use as a library.
_ALLOWED = re.compile(
    r"apache|mit\b|bsd|isc|psf|python software|mpl|mozilla|hpnd|unlicense|zlib|cc0|public domain|lgpl|lesser|nvidia",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"agpl|affero|sspl|busl|\bgpl|gnu general public", re.IGNORECASE)
# GPL with the exception that allows any program to link it, in the compiler's runtime that wheels carry.
_EXCEPTION = re.compile(r"gcc-exception|runtime library exception", re.IGNORECASE)


def _licence(name: str) -> str:
    found = importlib.metadata.metadata(name)
    classifiers = [one for one in found.get_all("Classifier") or () if one.startswith("License ::")]
    # Some put the whole text of their licence there.
    first = (found.get("License") or "").partition("\n")[0][:60]
    return " | ".join(filter(None, [found.get("License-Expression") or "", first, *classifiers]))


def test_nothing_that_runs_has_a_licence_that_a_platform_cannot_take() -> None:
    names = {name for lock in sbom.LOCKS for name, _ in sbom.pins((ROOT / "locks" / f"{lock}.lock").read_text(), lock)}
    seen, odd = 0, {}
    for name in sorted(names):
        try:
            licence = _licence(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform or Python
        seen += 1
        refused = _REFUSED.search(licence.replace("LGPL", "").replace("Lesser General Public", ""))
        if not _ALLOWED.search(licence) or (refused and not _EXCEPTION.search(licence)):
            odd[name] = licence
    print(f"S20: {seen} of {len(names)} packages looked at")
    assert seen > 40
    assert odd == {}
