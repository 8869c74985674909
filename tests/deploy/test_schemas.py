"""Every resource is what the API server, or the operator whose resource it is, takes."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from deploy.rendering import RENDERINGS, named, one, rendered

CUSTOM = json.loads((Path(__file__).parent / "custom_resources.json").read_text())
# The oldest release that Kubernetes maintains when this is written but two, and the newest that the package knows.
RELEASES = ("1.32", "1.37")


@functools.cache
def _checker(kind: str) -> Any:
    return jsonschema.Draft202012Validator(CUSTOM[kind])


@functools.cache
def _faults(text: str) -> list[str]:
    """What is wrong with a resource, given as JSON so that equal ones of several renderings are checked once."""
    resource = json.loads(text)
    kind = f"{resource['apiVersion']}/{resource['kind']}"
    if kind in CUSTOM:
        found = [
            f"{'/'.join(map(str, each.absolute_path))}: {each.message}" for each in _checker(kind).iter_errors(resource)
        ]
        if resource["kind"] == "ScaledJob":
            job = {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": "x"},
                "spec": resource["spec"]["jobTargetRef"],
            }
            found += _faults(json.dumps(job))
        return found
    found = []
    for release in RELEASES:
        try:
            kubernetes_validate.validate(resource, release, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"Kubernetes {release}: {error.message}")
    return found


@pytest.mark.parametrize("name", RENDERINGS)
def test_every_resource_fits_its_schema(name: str) -> None:
    wrong = {named(each): _faults(json.dumps(each)) for each in rendered(name)}
    assert {which: faults for which, faults in wrong.items() if faults} == {}
    assert len(wrong) == len(rendered(name)), "two resources have one name"


@pytest.mark.parametrize(
    ("which", "path", "value"),
    [
        ("Deployment/scorer", ("spec", "template", "spec", "containers", 0, "resorces"), {}),
        ("Deployment/scorer", ("spec", "replicas"), "two"),
        ("ScaledObject/scorer", ("spec", "minReplicas"), 1),
        ("ScaledJob/trainer", ("spec", "jobTargetRef", "template", "spec", "containers", 0, "imagee"), "x"),
        ("ScaledJob/trainer", ("spec", "triggers", 0, "metadata", "lagThreshold"), 1),
        ("Certificate/nats", ("spec", "dnsName"), ["x"]),
        ("PodMonitor/nats", ("spec", "podMetricsEndpoints"), {}),
        ("PrometheusRule/tessera", ("spec", "groups", 0, "rules", 0, "expression"), "up"),
    ],
)
def test_a_misspelt_field_or_a_wrong_type_is_found(which: str, path: tuple[str | int, ...], value: object) -> None:
    kind, _, called = which.partition("/")
    changed = copy.deepcopy(one("overlays/prod", kind, called))
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert _faults(json.dumps(one("overlays/prod", kind, called))) == []
    assert _faults(json.dumps(changed)) != []
