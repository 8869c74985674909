"""Commands of a guide: tests execute them as they are written there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNTESTED = "# not tested here"


def commands(page: str) -> list[str]:
    """Return every command in the page's blocks of code, with its mark if it has one."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def guided(start: str, page: str = "docs/deploy.md") -> list[str]:
    """Return the words of the page's first command that begins so and is not marked as untested."""
    found = (line for line in commands(page) if line.startswith(start) and not line.endswith(UNTESTED))
    return shlex.split(next(found), comments=True)


def file_of(page: str, first: str) -> str:
    """Return the file that the page shows as an indented block whose first line begins so."""
    blocks = re.findall(r"(?:^    .*\n)+", (ROOT / page).read_text(), re.MULTILINE)
    (found,) = (block for block in blocks if block.startswith(f"    {first}"))
    return "".join(line.removeprefix("    ") for line in found.splitlines(keepends=True))
