"""Scalers look at the queues that the code makes, and count jobs as the code takes them."""

from __future__ import annotations

import pytest

from deploy.rendering import Resource, one, rendered, template
from tessera.runtime import catalogue, topology
from tessera.runtime.service import slots
from tessera.runtime.settings import load

BY_SERVICE: dict[str, set[str]] = {}
for _service, _method in catalogue.methods().values():
    BY_SERVICE.setdefault(_service, set()).add(_method.verb)


def _triggers(service: str) -> dict[str, Resource]:
    """Trigger by verb, of whatever scales a service."""
    kind = "ScaledJob" if service == "trainer" else "ScaledObject"
    found: dict[str, Resource] = {}
    for each in one("overlays/prod", kind, service)["spec"]["triggers"]:
        assert each["type"] == "nats-jetstream"
        found[each["metadata"]["consumer"]] = each["metadata"]
    return found


def test_every_service_that_takes_jobs_is_scaled_and_no_other() -> None:
    scaled = {each["metadata"]["name"] for each in rendered("keda") if each["kind"] in ("ScaledObject", "ScaledJob")}
    assert scaled == set(BY_SERVICE)
    for each in rendered("keda"):
        if each["kind"] == "ScaledObject":
            target = one("keda", "Deployment", each["spec"]["scaleTargetRef"]["name"])
            assert "replicas" not in target["spec"], "an apply would take back what the scaler has set"
    assert not [
        each for each in rendered("keda") if each["kind"] == "Deployment" and each["metadata"]["name"] == "trainer"
    ]


@pytest.mark.parametrize("service", sorted(BY_SERVICE))
def test_streams_consumers_and_thresholds_are_those_of_the_code(service: str) -> None:
    kind = "ScaledJob" if service == "trainer" else "Deployment"
    pod = template(one("overlays/prod", kind, service))
    assert pod is not None
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    chosen = load(cores=int(limits["cpu"]), children=0)
    triggers = _triggers(service)
    assert set(triggers) == {topology.consumer_name(verb) for verb in BY_SERVICE[service]}
    for taken_by, method in catalogue.methods().values():
        if taken_by != service:
            continue
        consumer = topology.worker_consumer(method.verb, chosen)
        trigger = triggers[consumer.name]
        assert trigger["stream"] == consumer.stream
        assert trigger["lagThreshold"] == str(slots(method, chosen)), method.name


def test_scalers_ask_the_servers_that_are_rendered() -> None:
    headless = one("overlays/prod", "Service", "nats-headless")
    (port,) = [each["port"] for each in headless["spec"]["ports"] if each["name"] == "monitor"]
    host = f"{headless['metadata']['name']}.{headless['metadata']['namespace']}.svc.cluster.local"
    asked = {each["natsServerMonitoringEndpoint"] for service in BY_SERVICE for each in _triggers(service).values()}
    assert asked == {f"{host}:{port}"}
    # Its leader is asked as POD.HOST: server names are names of pods.
    configuration = _configuration("overlays/prod", "nats")["nats.conf"]
    assert "server_name: $POD_NAME" in configuration
    assert "no_advertise: true" in configuration
    assert headless["metadata"]["name"] == one("overlays/prod", "StatefulSet", "nats")["spec"]["serviceName"]


def _configuration(name: str, start: str) -> dict[str, str]:
    (found,) = [
        each["data"]
        for each in rendered(name)
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith(f"{start}-")
    ]
    data: dict[str, str] = found
    return data
