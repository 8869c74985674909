"""Every command of a guide is executed by a test, or says that it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guide import ROOT, UNTESTED, commands, guided

_CALL = re.compile(r'guided\(\s*"([^"]+)"(?:,\s*"([^"]+)")?')
GUIDES = {"docs/adapters.md": 8, "docs/data.md": 9, "docs/deploy.md": 11, "docs/operations.md": 5, "docs/label.md": 16,
          "deploy/README.md": 9}  # fmt: skip
"""Each with the least number of its commands."""


def _executed(page: str) -> set[str]:
    """What tests take from a guide: the beginnings of commands."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path != Path(__file__):
            found |= {start for start, named in _CALL.findall(path.read_text()) if (named or "docs/deploy.md") == page}
    return found


@pytest.mark.parametrize("page", GUIDES)
def test_every_command_is_executed_by_a_test_or_marked(page: str) -> None:
    lines = commands(page)
    assert len(lines) >= GUIDES[page]
    unmarked = [line for line in lines if not line.endswith(UNTESTED)]
    # As `guided` does it: the first command that begins so.
    executed = {start: next((line for line in unmarked if line.startswith(start)), None) for start in _executed(page)}
    assert None not in executed.values(), f"{page} has no command that begins so: {executed}"
    for line in unmarked:
        assert line in executed.values(), f"{page}: no test executes {line!r}; mark it"


def test_a_mark_is_no_argument_of_a_command() -> None:
    assert guided("tessera audit") == ["tessera", "audit", "RUN"]
