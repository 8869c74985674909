"""What holds for every pod and every reference, in the base, in each overlay and with each component."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.rendering import (
    OUTSIDE_SECRETS,
    RENDERINGS,
    Resource,
    containers,
    environment_of,
    fits,
    named,
    of_kind,
    one,
    pods,
    rendered,
    template,
)

ROOT = Path(__file__).parents[2]
SERVICES = {
    *("coordinator", "partitioner", "scorer", "embedder", "selector", "oracle", "trainer", "evaluator"),
    "dashboard",
}
everywhere = pytest.mark.parametrize("name", RENDERINGS)


@everywhere
def test_no_pod_has_rights_that_it_does_not_need(name: str) -> None:
    for which, pod in pods(name):
        spec = pod["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, which
        assert security["runAsUser"] > 0, which
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, which
        assert spec["automountServiceAccountToken"] is False, which
        assert spec["enableServiceLinks"] is False, which
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), which
        assert not [each for each in spec["volumes"] if "hostPath" in each], which
    for which, container in containers(name):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, which
        assert security["readOnlyRootFilesystem"] is True, which
        assert security["capabilities"] == {"drop": ["ALL"]}, which
        assert not security.get("privileged"), which


@everywhere
def test_every_container_has_requests_limits_and_a_pinned_image(name: str) -> None:
    for which, container in containers(name):
        for part in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][part]), which
        repository, _, tag = container["image"].rpartition(":")
        assert repository, f"{which}: {container['image']} has no tag"
        assert tag != "latest", f"{which}: {container['image']}"


@everywhere
def test_whatever_serves_has_probes_and_what_ends_has_none(name: str) -> None:
    for which, pod in pods(name):
        for container in pod["spec"]["containers"]:
            probes = {probe for probe in container if probe.endswith("Probe")}
            if which.startswith(("Job/", "CronJob/")):
                assert probes == set(), which
            else:
                assert probes == {"startupProbe", "readinessProbe", "livenessProbe"}, which
            if pod["metadata"]["labels"].get("app.kubernetes.io/component") == "service":
                # NOT_SERVING while NATS is away must make a pod unready and never restart it.
                settings = environment_of(name, container)
                if "tls" in name or name == "overlays/prod":
                    # The kubelet's own check speaks no TLS, and does not reach loopback.
                    assert container["readinessProbe"]["exec"]["command"][-1] == "tessera.runtime.probe", which
                    assert settings["TESSERA_INSECURE"] == "false", which
                    open_to_others = settings["TESSERA_GRPC_HOST"] != "127.0.0.1"
                    assert open_to_others == which.endswith("/coordinator"), which
                    if open_to_others:
                        assert {"TESSERA_GRPC_CERT", "TESSERA_GRPC_KEY", "TESSERA_ACCESS"} <= set(settings), which
                else:
                    assert container["readinessProbe"]["grpc"] == {"port": 50051}, which
                    assert settings["TESSERA_INSECURE"] == "true", which
                assert "probe" not in str(container["livenessProbe"]), which
                assert "grpc" not in container["livenessProbe"], which


@everywhere
def test_every_volume_has_a_limit_and_every_mount_a_volume(name: str) -> None:
    for which, pod in pods(name):
        spec = pod["spec"]
        claimed = {each["metadata"]["name"] for each in _claims(name, which)}
        volumes = {each["name"] for each in spec["volumes"]} | claimed
        for each in spec["volumes"]:
            assert "emptyDir" not in each or "sizeLimit" in each["emptyDir"], f"{which}: {each}"
        for container in spec["containers"]:
            assert {each["name"] for each in container.get("volumeMounts", ())} <= volumes, which


def _claims(name: str, which: str) -> list[Resource]:
    (found,) = [each for each in rendered(name) if named(each) == which]
    claims: list[Resource] = found["spec"].get("volumeClaimTemplates", [])
    return claims


@everywhere
def test_every_reference_leads_somewhere(name: str) -> None:
    there = {named(each): each for each in rendered(name)}
    secrets = {named(each).partition("/")[2] for each in of_kind(list(rendered(name)), "Secret")} | OUTSIDE_SECRETS
    secrets |= {each["spec"]["secretName"] for each in of_kind(list(rendered(name)), "Certificate")}
    for which, pod in pods(name):
        assert f"ServiceAccount/{pod['spec']['serviceAccountName']}" in there, which
        for kind, called, key in _references(pod["spec"]):
            if kind == "Secret":
                assert called in secrets, f"{which}: Secret {called}"
            else:
                assert f"{kind}/{called}" in there, f"{which}: {kind} {called}"
            if key and f"{kind}/{called}" in there:
                assert key in there[f"{kind}/{called}"]["data"], f"{which}: {kind} {called} has no {key}"
    for issued in of_kind(list(rendered(name)), "Certificate"):
        assert f"Issuer/{issued['spec']['issuerRef']['name']}" in there, named(issued)


def _references(spec: Resource) -> Iterator[tuple[str, str, str | None]]:
    """(kind, name, key) of every ConfigMap, Secret and claim that a pod names."""
    for volume in spec["volumes"]:
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], None
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], None
    for container in spec["containers"]:
        for each in container.get("envFrom", ()):
            yield "ConfigMap", each["configMapRef"]["name"], None
        for each in container.get("env", ()):
            source: Resource = each.get("valueFrom", {})
            for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if field in source:
                    yield kind, source[field]["name"], source[field]["key"]


@everywhere
def test_no_secret_is_written_where_it_is_used(name: str) -> None:
    secret = re.compile("SECRET|TOKEN|PASSWORD|ACCESS_KEY|RECORD_KEY|CREDENTIAL")
    for which, container in containers(name):
        for each in container.get("env", ()):
            assert not secret.search(each["name"]) or "secretKeyRef" in each["valueFrom"], f"{which}: {each['name']}"
    for each in of_kind(list(rendered(name)), "ConfigMap"):
        assert not [key for key in each["data"] if secret.search(key)], named(each)


@everywhere
def test_every_name_and_namespace_is_one(name: str) -> None:
    for each in rendered(name):
        if each["kind"] != "Namespace":
            assert each["metadata"]["namespace"] == "tessera", named(each)
        for container in (each for _, pod in pods(name) for each in pod["spec"]["containers"]):
            names = [variable["name"] for variable in container.get("env", ())]
            assert len(names) == len(set(names)), container["name"]


@everywhere
def test_every_selector_chooses_pods_and_every_target_port_is_open(name: str) -> None:
    made = [(which, pod) for which, pod in pods(name)]
    for each in rendered(name):
        if each["kind"] == "Service":
            chosen = [pod for _, pod in made if fits({"matchLabels": each["spec"]["selector"]}, _labels(pod))]
            assert chosen, named(each)
            opened = {
                port["name"] for pod in chosen for one in pod["spec"]["containers"] for port in one.get("ports", ())
            }
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= opened, named(each)
        elif each["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            assert [which for which, pod in made if fits(each["spec"]["selector"], _labels(pod))], named(each)


def _labels(pod: Resource) -> dict[str, str]:
    labels: dict[str, str] = pod["metadata"]["labels"]
    return labels


@everywhere
def test_every_service_and_every_cluster_of_nats_has_a_disruption_budget(name: str) -> None:
    budgets = [each["spec"] for each in of_kind(list(rendered(name)), "PodDisruptionBudget")]
    for each in rendered(name):
        labels = each["metadata"].get("labels", {})
        if each["kind"] == "StatefulSet" or (
            each["kind"] == "Deployment" and labels.get("app.kubernetes.io/component") == "service"
        ):
            (budget,) = [
                one for one in budgets if fits(one["selector"], each["spec"]["template"]["metadata"]["labels"])
            ]
            assert budget["maxUnavailable"] == 1, named(each)
    for budget in budgets:
        owners = [
            each["kind"]
            for each in rendered(name)
            if (pod := template(each)) and fits(budget["selector"], _labels(pod))
        ]
        assert set(owners) <= {"Deployment", "StatefulSet"}, "a budget cannot count the pods of jobs"


@everywhere
def test_all_services_are_there_once_with_a_grace_time_that_is_longer_than_their_drain(name: str) -> None:
    found: dict[str, Resource] = {}
    for which, pod in pods(name):
        if _labels(pod).get("app.kubernetes.io/component") == "service":
            service = _labels(pod)["app.kubernetes.io/name"]
            assert service not in found, which
            found[service] = pod
            environment = environment_of(name, pod["spec"]["containers"][0])
            drain = float(environment["TESSERA_DRAIN_SECONDS"])
            # Ending compute takes ten seconds more, answering calls one.
            assert pod["spec"]["terminationGracePeriodSeconds"] >= drain + 12, which
    assert set(found) == SERVICES


@everywhere
def test_every_setting_is_one_that_the_code_has_with_a_value_that_it_takes(name: str) -> None:
    from tessera.runtime.settings import Settings

    known = {f"TESSERA_{field.upper()}": field for field in Settings.model_fields}
    for which, pod in pods(name):
        if _labels(pod)["app.kubernetes.io/component"] not in ("service", "task"):
            continue
        container = pod["spec"]["containers"][0]
        if "tessera/" not in container["image"]:
            continue
        names = {each["name"] for each in container["env"]} | set(environment_of(name, container))
        given = {each for each in names if each.startswith("TESSERA_")}
        assert given <= set(known), f"{which}: {given - set(known)}"
        values = environment_of(name, container)
        Settings(**{known[each]: values[each] for each in given & set(values)})
        replicas = [each["spec"]["replicas"] for each in rendered(name) if each["kind"] == "StatefulSet"]
        if replicas:
            assert values["TESSERA_NATS_REPLICAS"] == str(replicas[0]), which


@pytest.mark.parametrize("name", ["network-policies", "overlays/prod"])
def test_every_pod_is_shut_off_and_reaches_what_it_needs(name: str) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(list(rendered(name)), "NetworkPolicy")}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for which, pod in pods(name):
        labels = _labels(pod)
        mine = [policy for called, policy in policies.items() if called not in ("deny-all", "dns")]
        mine = [policy for policy in mine if fits(policy["podSelector"], labels)]
        assert mine, f"{which}: no policy is about it"
        ports = {port["port"] for policy in mine for rule in policy.get("egress", ()) for port in rule.get("ports", ())}
        if labels["app.kubernetes.io/component"] in ("service", "task"):
            assert ports >= {4222, 443}, which
        # No rule without ports, and none without a peer.
        for policy in mine:
            for rule in (*policy.get("egress", ()), *policy.get("ingress", ())):
                assert rule["ports"], which
                assert rule.get("to") or rule.get("from"), which


def test_compose_has_every_service() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text())["services"]
    assert set(services) >= SERVICES
    told = services["dashboard"]["environment"]
    assert told["TESSERA_COORDINATOR"] == "coordinator:50051"
    # Like the coordinator, for this machine alone.
    for each in ("coordinator", "dashboard"):
        assert services[each]["ports"][0].startswith("127.0.0.1:")


def test_production_is_restricted_and_keeps_no_secret() -> None:
    assert not of_kind(list(rendered("overlays/prod")), "Secret")
    (space,) = of_kind(list(rendered("overlays/prod")), "Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    images = {container["image"] for _, container in containers("overlays/prod")}
    assert not [each for each in images if each.endswith(":dev")]


def test_the_script_that_makes_the_bucket_is_that_of_compose() -> None:
    ours = ROOT / "deploy" / "kubernetes" / "components" / "dev-s3" / "bucket.py"
    compose = ROOT / "deploy" / "compose"
    (mount,) = yaml.safe_load((compose / "compose.yaml").read_text())["services"]["bucket"]["volumes"]
    assert (compose / mount.split(":")[0]).resolve() == ours
    assert "make_bucket" in ours.read_text()


def test_the_trainer_as_jobs_differs_from_the_trainer_that_stays_only_where_it_has_to() -> None:
    stays = template(one("nats", "Deployment", "trainer"))
    job = template(one("keda", "ScaledJob", "trainer"))
    assert stays is not None
    assert job is not None

    def plain(pod: Resource) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        spec = {key: each for key, each in pod["spec"].items() if key not in ("containers", "restartPolicy")}
        (container,) = pod["spec"]["containers"]
        environment = {each["name"]: {k: v for k, v in each.items() if k != "name"} for each in container["env"]}
        rest = {key: each for key, each in container.items() if key not in ("env", "command")}
        return spec, environment, rest

    job_spec, job_environment, job_rest = plain(job)
    spec, environment, rest = plain(stays)
    assert job_spec == spec
    assert job_rest == rest
    differing = {
        key for key in job_environment.keys() | environment.keys() if job_environment.get(key) != environment.get(key)
    }
    assert differing == {"TESSERA_IDLE_SECONDS", "TESSERA_DRAIN_SECONDS"}


@pytest.mark.parametrize("name", ["users", "keda-users", "housekeeping-tls-users", "overlays/prod"])
def test_every_service_has_credentials_of_its_own(name: str) -> None:
    seen = set()
    for which, pod in pods(name):
        if _labels(pod)["app.kubernetes.io/component"] not in ("service", "task"):
            continue
        if "tessera/" not in pod["spec"]["containers"][0]["image"]:
            continue
        called = which.partition("/")[2]
        user = "admin" if called in ("topology", "gc", "audit") else called
        given = {each["name"]: each for each in pod["spec"]["containers"][0]["env"]}
        assert given["TESSERA_NATS_USER"]["value"] == user, which
        for variable, key in (
            ("TESSERA_NATS_PASSWORD", "nats-password"),
            ("TESSERA_S3_ACCESS_KEY", "s3-access-key"),
            ("TESSERA_S3_SECRET_KEY", "s3-secret-key"),
        ):
            assert given[variable]["valueFrom"] == {"secretKeyRef": {"name": f"tessera-{user}", "key": key}}, which
        seen.add(called)
    assert seen >= SERVICES | {"topology"}


def test_the_users_of_nats_are_those_that_the_code_generates() -> None:
    from tessera.runtime.permissions import configuration, table, variable

    folder = ROOT / "deploy" / "kubernetes" / "components" / "users"
    assert (folder / "users.conf").read_text() == configuration(), "tessera nats-permissions > users.conf"
    nats = template(one("users", "StatefulSet", "nats"))
    assert nats is not None
    given = {each["name"]: each.get("valueFrom") for each in nats["spec"]["containers"][0]["env"]}
    for user in table():
        wanted = {"secretKeyRef": {"name": f"tessera-{user}", "key": "nats-password"}}
        assert given[variable(user)] == wanted
