"""The rendered overlay "dev", run: what is chosen is what ``tessera run`` chooses, though pods come and are killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers.cluster import Cluster, wait
from containers.engine import SERVICES
from deploy.pods import PodMember, Pods, why_not
from integration.loop import selections, tessera, write_recipe
from tessera.pb.runs_pb2 import RunStatus
from tessera.runtime import rpc

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(1500),
]

_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pods]:
    """NATS, S3, the bucket and the topology, as pods."""
    reason = why_not()
    if reason:
        pytest.skip(f"{reason}; pods cannot be played")
    configuration = tmp_path / "containers.conf"
    configuration.write_text(_CONFIGURATION)
    monkeypatch.setenv("CONTAINERS_CONF", str(configuration))
    made = Pods(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_run_on_pods_selects_what_tessera_run_selects_while_scorers_come_and_one_is_killed(
    pods: Pods, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "recipe")
    out = tmp_path / "expected"
    alone = tessera("run", recipe, "--out", out, "--seed", 5)
    assert alone.returncode == 0, alone.stderr

    cluster = Cluster(pods)
    for service in SERVICES:
        (member,) = cluster.members[service]
        assert isinstance(member, PodMember)
        facts = member.facts()
        assert facts["HostConfig"]["ReadonlyRootfs"] is True
        assert not facts["EffectiveCaps"]
        assert facts["Config"]["User"].startswith("10001")
    run = cluster.submit(recipe)
    cluster.reaches(run, lambda view: view.round >= 1, "the first round")
    cluster.add("scorer", "scorer")
    cluster.members["scorer"][0].kill()
    assert cluster.finish(run, tmp_path / "out") == selections(out)
    assert cluster.view(run).status == RunStatus.RUN_STATUS_DONE
    cluster.audit(run)
    for member in cluster.members["scorer"][1:]:
        wait(lambda each=member: asyncio.run(rpc.is_serving(each.address)), 60, "a scorer", member)
        assert member.terminate() == 0, member.log()
