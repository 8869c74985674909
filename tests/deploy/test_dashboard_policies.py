"""What the manifests say of the dashboard: who reaches its pages, over what, and who signs in."""

from __future__ import annotations

import pytest

from deploy.rendering import RENDERINGS, environment_of, fits, of_kind, one, rendered
from services.dashboard.web import ANSWER_BYTES


@pytest.mark.parametrize("name", RENDERINGS)
def test_the_dashboard_is_there_for_browsers_and_calls_the_coordinator(name: str) -> None:
    deployment, service = one(name, "Deployment", "dashboard"), one(name, "Service", "dashboard")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    values = environment_of(name, container)
    (port,) = [each for each in container["ports"] if each["name"] == "http"]
    assert values["TESSERA_HTTP_PORT"] == str(port["containerPort"])
    assert {each["targetPort"] for each in service["spec"]["ports"]} == {"http"}
    called = one(name, "Service", values["TESSERA_COORDINATOR"].partition(":")[0])
    assert values["TESSERA_COORDINATOR"].endswith(f":{called['spec']['ports'][0]['port']}")
    # Where callers are asked who they are, browsers reach it over TLS alone, and it has a token and the authority.
    asked = values["TESSERA_INSECURE"] == "false"
    given = {each["name"] for each in container["env"]}
    assert "TESSERA_HTTP_TOKEN" in given
    assert ("TESSERA_TOKEN" in given) == asked
    assert ("TESSERA_GRPC_CA" in given) == asked
    in_front = bool(of_kind(list(rendered(name)), "Ingress"))
    own = "TESSERA_HTTP_CERT" in values
    assert (values.get("TESSERA_HTTP_SECURE") == "true") == ((asked and not own) or in_front)
    assert (service["spec"]["ports"][0]["appProtocol"] == "https") == own


@pytest.mark.parametrize("name", ["ingress", "overlays/prod"])
def test_the_ingress_ends_tls_for_the_names_that_it_serves(name: str) -> None:
    spec = one(name, "Ingress", "dashboard")["spec"]
    (rule,), (secured,) = spec["rules"], spec["tls"]
    assert secured["hosts"] == [rule["host"]]
    assert secured["secretName"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = one(name, "Service", backend["name"])["spec"]
    assert backend["port"]["name"] in {port["name"] for port in service["ports"]}
    assert "type" not in service, "only the Ingress's controller reaches it"
    given = one(name, "Ingress", "dashboard")["metadata"]["annotations"]
    assert given["nginx.ingress.kubernetes.io/proxy-body-size"] == f"{ANSWER_BYTES >> 20}m"


def test_a_page_with_tls_of_its_own_is_reached_by_people_over_tls_alone() -> None:
    deployment, service = (one("page-tls", kind, "dashboard") for kind in ("Deployment", "Service"))
    certificate = one("page-tls", "Certificate", "dashboard")["spec"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    values = environment_of("page-tls", container)
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "http-tls"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "http-tls"]
    assert volume["secret"]["secretName"] == certificate["secretName"]
    for setting, file in (("TESSERA_HTTP_CERT", "tls.crt"), ("TESSERA_HTTP_KEY", "tls.key")):
        assert values[setting] == f"{mount['mountPath']}/{file}"
    assert "server auth" in certificate["usages"]
    assert [port["port"] for port in service["spec"]["ports"]] == [443]
    assert service["spec"]["type"] == "LoadBalancer"
    # Behind the load balancer the policy decides by people's own addresses.
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    (rule,) = one("page-tls", "NetworkPolicy", "dashboard")["spec"]["ingress"]
    assert [list(peer) for peer in rule["from"]] == [["ipBlock"]]
    assert [port["port"] for port in rule["ports"]] == [8080]


@pytest.mark.parametrize("name", ["network-policies", "overlays/prod"])
def test_the_dashboards_pages_are_open_to_what_ends_tls_and_to_nobody_else(name: str) -> None:
    labels = one(name, "Deployment", "dashboard")["spec"]["template"]["metadata"]["labels"]
    rules = [
        rule
        for each in of_kind(list(rendered(name)), "NetworkPolicy")
        if fits(each["spec"]["podSelector"], labels)
        for rule in each["spec"].get("ingress", ())
        if 8080 in {port["port"] for port in rule["ports"]}
    ]
    (peers,) = [rule["from"] for rule in rules]
    assert peers == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]
    # It calls the coordinator, as a client does.
    callers = one(name, "NetworkPolicy", "coordinator")["spec"]["ingress"][0]["from"][0]["podSelector"]
    assert fits(callers, labels)


@pytest.mark.parametrize("name", ["tls", "overlays/dev", "overlays/prod"])
def test_whoever_may_see_runs_signs_in_at_the_dashboard(name: str) -> None:
    spec = one(name, "Deployment", "dashboard")["spec"]["template"]["spec"]
    file = next(each["value"] for each in spec["containers"][0]["env"] if each["name"] == "TESSERA_ACCESS")
    assert file == "/etc/tessera/access/access"
