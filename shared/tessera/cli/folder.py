"""The folder of a run (``--out``): its run, the data that ``tessera resume`` needs, and a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from tessera.cli.processes import write_atomically
from tessera.errors import BadInput
from tessera.pb.runs_pb2 import RunSpec
from tessera.runtime.redaction import without_secret

NAME = "run.json"
VERSION = 1


@dataclass
class RunFile:
    """Content of ``run.json``. ``spec`` is absent until data set and weights are in the store."""

    run_id: str
    recipe: str
    seed: int
    canonical: str
    data: str | None
    nats: str | None
    store: str | None
    replicas: dict[str, int]
    spec: dict[str, Any] | None = None
    finished: bool = False
    version: int = VERSION

    def message(self) -> RunSpec | None:
        """Return the submitted spec, when there is one; BadInput when the file was damaged."""
        if self.spec is None:
            return None
        try:
            return ParseDict(self.spec, RunSpec())
        except ParseError as error:
            raise BadInput(f"{NAME}: spec: {error}; start again with another --out") from None

    def keep(self, spec: RunSpec) -> None:
        """Remember the spec; ``save`` writes it."""
        self.spec = MessageToDict(spec)

    def save(self, out: Path) -> None:
        """Write ``OUT/run.json`` whole or not at all, for its owner alone and without a password.

        The address of NATS is kept without its secret; whoever resumes gives it again (``--nats`` or TESSERA_NATS_URL).
        """
        kept = asdict(self) | ({"nats": without_secret(self.nats)} if self.nats else {})
        write_atomically(out / NAME, json.dumps(kept, indent=1, sort_keys=True).encode(), private=True)


def read(out: Path) -> RunFile | None:
    """Return ``OUT/run.json``, or None when there is none; BadInput when it cannot be read."""
    path = out / NAME
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict) or values.get("version") != VERSION:
            raise ValueError(f"not a run file of version {VERSION}")
        return RunFile(**values)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path}: damaged ({error}); start again with another --out") from None


def claim(out: Path, wanted: RunFile) -> RunFile:
    """Return the run file of ``out``: the earlier one when it is the same run, else ``wanted`` in an empty folder.

    BadInput when the folder holds another run or other files.
    """
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out}: is a file; give a folder")
    found = read(out)
    if found is not None:
        if found.run_id != wanted.run_id:
            raise BadInput(
                f"--out {out}: holds another run ({found.run_id}); give another --out, or continue that one with: "
                f"tessera resume {shlex.quote(str(out))}"
            )
        return found
    strangers = (
        sorted(path.name for path in out.iterdir() if path.name not in (".lock", "stack")) if out.exists() else []
    )
    if strangers:
        raise BadInput(f"--out {out}: is not empty (holds {strangers[0]}); give another --out or empty it")
    return wanted


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold ``OUT/.lock``; BadInput when another process works in this folder. The lock goes with its process."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BadInput(f"--out {out}: is a file or lies under one; give a folder") from None
    except OSError as error:
        raise BadInput(f"--out {out}: cannot be created ({error.strerror}); give a folder you may write to") from None
    descriptor = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise BadInput(
                f"--out {out}: process {owner or '?'} is using this folder; wait for it or give another --out"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)
