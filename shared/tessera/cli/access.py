"""``tessera token``: make a token for a caller of the coordinator, and name the caller in the service's file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tessera.errors import BadInput
from tessera.runtime.access import Access, new_token


def add(name: str, roles: Sequence[str], file: Path) -> str:
    """Append a caller to the file (made if it is not there, for its owner only); return the token.

    The file gets the token's hash: whoever loses the token makes another. BadInput if the file is not one of callers.
    """
    token, line = new_token(name, roles)
    before = ""
    if file.exists():
        Access(file)
        before = file.read_text(encoding="utf-8")
    if any(each.split()[:1] == [name] for each in before.splitlines()):
        raise BadInput(f"{file}: has a line for {name}; remove it to take its token back, or choose another name")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(("" if before.endswith("\n") or not before else "\n") + line + "\n")
    return token
