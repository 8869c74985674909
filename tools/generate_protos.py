"""Generate shared/tessera/pb from protos/ (or, with --check, fail when the committed files differ).

protoc writes imports for the proto package path (tessera.v1); our generated modules live in tessera.pb, so the import
lines are rewritten. Nothing else is touched.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUTPUT = ROOT / "shared" / "tessera" / "pb"


def generate(into: Path) -> list[Path]:
    """Write one ``*_pb2.py`` and ``*_pb2.pyi`` per proto file to ``into``; return their paths."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        code = protoc.main(
            [
                "protoc",
                f"-I{PROTOS}",
                f"-I{files('grpc_tools') / '_proto'}",
                f"--python_out={scratch}",
                f"--pyi_out={scratch}",
                *sources,
            ]
        )
        if code != 0:
            raise SystemExit(f"protoc failed with exit code {code}")
        written = []
        for made in sorted(Path(scratch).rglob("*_pb2.py*")):
            text = re.sub(r"from tessera\.v1 import", "from tessera.pb import", made.read_text())
            target = into / made.name
            target.write_text(text)
            written.append(target)
    return written


def main() -> int:
    """Generate, or check for drift; exit 1 with the names of the files that differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed files and write nothing")
    if not parser.parse_args().check:
        OUTPUT.mkdir(exist_ok=True)
        for path in generate(OUTPUT):
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        made = generate(Path(scratch))
        stale = [p.name for p in made if not (OUTPUT / p.name).exists() or not filecmp.cmp(p, OUTPUT / p.name, False)]
        stale += sorted({p.name for p in OUTPUT.glob("*_pb2.py*")} - {p.name for p in made})
    for name in stale:
        sys.stderr.write(f"shared/tessera/pb/{name} does not match protos/: run 'make proto' and commit the result\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
