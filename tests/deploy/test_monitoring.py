"""Alerts and dashboard: expressions that parse, ports that are open. What they say of a live run: tests/integration."""

from __future__ import annotations

import pytest

from deploy.promql import Expression, alerts, dashboard, panels
from deploy.rendering import one, pods, rendered
from guide import guided

EVERY = [*alerts(), *panels()]


@pytest.mark.parametrize("expression", EVERY, ids=lambda one: one.owner)
def test_an_expression_parses_and_names_series(expression: Expression) -> None:
    assert expression.series()


def test_an_expression_that_is_none_is_found() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        Expression("x", "max by (method (tessera_queue_waiting_jobs) > 0", "").series()


def test_every_alert_says_what_it_is_about_and_how_grave() -> None:
    (spec,) = [each["spec"] for each in rendered("overlays/prod") if each["kind"] == "PrometheusRule"]
    rules = [rule for group in spec["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical"), rule
        assert set(rule["annotations"]) == {"summary", "description"}, rule


def test_the_dashboard_is_found_by_grafana_and_its_panels_do_not_overlap() -> None:
    assert one("overlays/prod", "ConfigMap", "tessera-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"
    made = dashboard()
    (variable,) = made["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in made["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert panel["datasource"]["uid"] == target["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("name", ["monitoring", "dev-nats-monitoring", "overlays/prod"])
def test_every_service_listens_where_prometheus_reads(name: str) -> None:
    settings = next(
        each["data"]
        for each in rendered(name)
        if each["kind"] == "ConfigMap"
        and each["metadata"]["name"].startswith("tessera-")
        and "TESSERA_STORE" in each["data"]
    )
    assert settings["TESSERA_METRICS_HOST"] == "0.0.0.0"  # noqa: S104  # of a pod
    for which, pod in pods(name):
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "service":
            ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
            assert ports["metrics"] == int(settings["TESSERA_METRICS_PORT"]), which


def test_nothing_listens_for_prometheus_where_nobody_monitors() -> None:
    for each in rendered("base"):
        if each["kind"] == "ConfigMap":
            assert "TESSERA_METRICS_PORT" not in each["data"]


@pytest.mark.parametrize("name", ["network-policies", "overlays/prod"])
def test_prometheus_may_come_in_and_traces_may_go_out(name: str) -> None:
    policy = one(name, "NetworkPolicy", "telemetry")["spec"]
    assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "service"}
    (come,), (go,) = policy["ingress"], policy["egress"]
    assert come["ports"] == [{"port": 9464, "protocol": "TCP"}]
    assert go["ports"] == [{"port": 4317, "protocol": "TCP"}]
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert come["from"] == go["to"] == [monitoring]


def test_the_backup_is_that_of_the_guide_and_ends_before_anything_is_removed() -> None:
    backup, gc = (one("overlays/prod", "CronJob", name)["spec"] for name in ("backup", "gc"))
    spec = backup["jobTemplate"]["spec"]["template"]["spec"]
    (first,), (second,) = spec["initContainers"], spec["containers"]
    assert ["rclone", *first["args"]] == guided("rclone copy --exclude", "docs/operations.md")
    assert ["rclone", *second["args"]] == guided("rclone copy store:tessera/runs/cas", "docs/operations.md")
    hours = [int(each["schedule"].split()[1]) for each in (backup, gc)]
    assert hours[0] * 3600 + backup["jobTemplate"]["spec"]["activeDeadlineSeconds"] < hours[1] * 3600
