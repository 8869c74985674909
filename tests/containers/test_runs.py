"""A whole run against a deployment selects the same regions as ``tessera run``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from containers.cluster import Cluster
from containers.engine import SERVICES
from tessera.runtime import rpc

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(900),
    # docker-py and testcontainers leave their connections to the engine to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_run_over_grpc_selects_what_tessera_run_selects(
    cluster: Cluster, recipe: Path, expected: list[str], tmp_path: Path
) -> None:
    for service in SERVICES:
        names = asyncio.run(rpc.reflected(cluster.members[service][0].address, timeout=30))
        wanted = "RunsService" if service == "coordinator" else f"{service.capitalize()}Service"
        assert f"tessera.v1.{wanted}" in names
    run = cluster.submit(recipe)
    assert cluster.finish(run, tmp_path / "out") == expected
    cluster.audit(run)
    for service in SERVICES:
        assert cluster.members[service][0].terminate() == 0, cluster.logs([service])
        assert '"left"' in cluster.members[service][0].log()
