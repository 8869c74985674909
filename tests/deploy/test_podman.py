"""The rendered overlay "dev", run: what is chosen is what ``tessera run`` chooses, though pods come and are killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotator import Annotator, signed_in
from containers.cluster import Cluster, wait
from deploy.pods import PLAYED, PodMember, Pods, why_not
from integration.loop import selections, tessera, write_recipe
from tessera.pb.runs_pb2 import RunStatus
from tessera.runtime import rpc

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(1800),
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
# The overlay's well-known tokens.
OPERATOR, VIEWER = "tessera-development", "tessera-viewer-development"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Every pod of the overlay, once."""
    reason = why_not()
    if reason:
        pytest.skip(f"{reason}; pods cannot be played")
    folder = tmp_path_factory.mktemp("pods")
    configuration = folder / "containers.conf"
    configuration.write_text(_CONFIGURATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(configuration))
        pods = Pods(folder)
        try:
            yield Cluster(pods, PLAYED)
        finally:
            pods.close()


def newest(cluster: Cluster, service: str) -> PodMember:
    member = cluster.members[service][-1]
    assert isinstance(member, PodMember)
    return member


def page(cluster: Cluster) -> str:
    return f"http://{newest(cluster, 'dashboard').at('http')}"


def test_every_pod_passes_its_probes_without_rights_on_a_read_only_root(cluster: Cluster) -> None:
    for service in PLAYED:
        member = newest(cluster, service)
        wait(lambda each=member: not each.failing(), 120, f"probes of {service}", member)
        facts = member.facts()
        assert facts["HostConfig"]["ReadonlyRootfs"] is True
        assert not facts["EffectiveCaps"]
        assert facts["Config"]["User"].startswith("10001")
    for server in (cluster.deployment.nats, cluster.deployment.s3):
        assert isinstance(server, PodMember)
        wait(lambda each=server: not each.failing(), 120, "probes of a server", server)


def test_doctor_finds_nothing_broken_from_a_job_in_the_cluster(cluster: Cluster) -> None:
    """As docs/deploy.md runs it: a Job's pod with other arguments."""
    assert isinstance(cluster.deployment, Pods)
    said = cluster.deployment.task("topology", "doctor").splitlines()
    found = dict(line.split()[:2] for line in said if not line.startswith(" "))
    assert {name for name, state in found.items() if state == "ok"} >= {"nats", "topology", "workers", "store"}
    assert "broken" not in found.values()


def test_a_run_on_pods_selects_what_tessera_run_selects_while_scorers_come_and_one_is_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "recipe")
    out = tmp_path / "expected"
    alone = tessera("run", recipe, "--out", out, "--seed", 5)
    assert alone.returncode == 0, alone.stderr

    run = cluster.submit(recipe)
    cluster.reaches(run, lambda view: view.round >= 1, "the first round")
    cluster.add("scorer", "scorer")
    cluster.members["scorer"][0].kill()
    assert cluster.finish(run, tmp_path / "out") == selections(out)
    assert cluster.view(run).status == RunStatus.RUN_STATUS_DONE
    cluster.audit(run)

    # Those who may only look see the run, its rounds and what was asked, and no page of operators or annotators.
    with signed_in(page(cluster), VIEWER) as viewer:
        assert run in viewer.get("/").text
        shown = viewer.get(f"/runs/{run}")
        assert shown.status_code == 200
        for number in (0, 1, 2):
            found = viewer.get(f"/runs/{run}/rounds/{number}")
            assert found.status_code == 200, f"round {number}: {found.text}"
            assert f"/runs/{run}/rounds/{number}" in shown.text
        picture = viewer.get(f"/runs/{run}/rounds/1/pictures/0")
        assert "regions chosen" in picture.text
        assert "data:image/" in picture.text
        assert viewer.get("/annotators").status_code == 403
        assert viewer.get("/label").status_code == 403
    with signed_in(page(cluster), "tessera-somebody-else") as nobody:
        assert nobody.get(f"/runs/{run}").headers["location"] == "/sign-in"

    for member in cluster.members["scorer"][1:]:
        wait(lambda each=member: asyncio.run(rpc.is_serving(each.address)), 60, "a scorer", member)
        assert member.terminate() == 0, member.log()


def test_people_answer_on_the_page_of_the_pods(cluster: Cluster, tmp_path: Path) -> None:
    once = {"unit": "regions", "per_round": 4, "rounds": 0}
    human = {"name": "human", "undo_seconds": 0, "lease_seconds": 30}
    cluster.add("scorer")  # the test before this one ends every scorer, and podman has no controller
    run = cluster.submit(write_recipe(tmp_path / "recipe", oracle=human, budget=once))
    ada = Annotator(page(cluster), OPERATOR, run)
    try:
        first = ada.waits_for_a_question(lambda: str(cluster.view(run)) + cluster.logs(), 600)
        ada.answer(first)
        ada.work(lambda: cluster.view(run).status != RunStatus.RUN_STATUS_RUNNING)
    finally:
        ada.client.close()
    assert cluster.view(run).status == RunStatus.RUN_STATUS_DONE, cluster.view(run).message
    cluster.audit(run)
