"""deploy/kubernetes as a cluster gets it: rendered by kubectl, for every overlay and combination of components."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from servers import find_binary

Resource = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
# Each component alone where it can be, with what it changes where it cannot.
COMBINATIONS: dict[str, tuple[str, ...]] = {
    "nats": ("nats",),
    "keda": ("nats", "keda"),
    "network-policies": ("nats", "network-policies"),
    "tls": ("nats", "tls"),
    "keda-tls": ("nats", "keda", "tls"),
    "ingress": ("ingress",),
    "page-tls": ("nats", "network-policies", "tls", "page-tls"),
    "users": ("nats", "users"),
    "keda-users": ("nats", "keda", "users"),
    "gpu": ("gpu",),
    "monitoring": ("nats", "monitoring"),
    "dev-nats": ("dev-nats",),
    "dev-nats-monitoring": ("dev-nats", "monitoring"),
    "dev-s3": ("dev-s3",),
    "housekeeping": ("nats", "housekeeping"),
    "housekeeping-tls-users": ("nats", "housekeeping", "tls", "users"),
    "gpu-keda": ("nats", "keda", "gpu"),
}
RENDERINGS = ("base", "overlays/dev", "overlays/prod", *COMBINATIONS)
_USERS = (
    *("admin", "coordinator", "dashboard", "partitioner", "scorer", "embedder", "selector", "oracle", "trainer"),
    "evaluator",
)
OUTSIDE_SECRETS = {
    "tessera-s3",
    "tessera-record-key",
    "tessera-access",
    "tessera-backup",
    *(f"tessera-{user}" for user in _USERS),
}
"""Secrets that an operator makes; deploy/README.md says how."""


@functools.cache
def _text(name: str) -> str:
    """What ``kubectl kustomize`` prints; a combination is rendered from a copy of the folder."""
    program = find_binary("kubectl")
    assert program is not None, "kubectl: install the development requirements (make setup)"
    if name not in COMBINATIONS:
        return _run(program, FOLDER / name)
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(shutil.copytree(FOLDER, Path(scratch) / "kubernetes"))
        overlay = copied / "overlays" / "combined"
        overlay.mkdir()
        content = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            # What a component adds is in no namespace until an overlay says which.
            "namespace": "tessera",
            "resources": ["../../base"],
            "components": [f"../../components/{each}" for each in COMBINATIONS[name]],
        }
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return _run(program, overlay)


def _run(program: Path, folder: Path) -> str:
    done = subprocess.run(
        [str(program), "kustomize", str(folder)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{folder.name}: {done.stderr}"
    assert not done.stderr, f"{folder.name}: {done.stderr}"
    return done.stdout


@functools.cache
def rendered(name: str) -> tuple[Resource, ...]:
    """Every resource of a rendering; treat them as read-only."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(each for each in yaml.load_all(_text(name), Loader=loader) if each is not None)


def named(resource: Resource) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def one(name: str, kind: str, called: str) -> Resource:
    (found,) = [each for each in rendered(name) if named(each) == f"{kind}/{called}"]
    return found


def template(resource: Resource) -> Resource | None:
    """The pods that a resource makes: metadata and spec; None where it makes none."""
    spec = resource.get("spec", {})
    if not isinstance(spec, dict):
        return None
    job = spec.get("jobTargetRef") or spec.get("jobTemplate", {}).get("spec") or spec
    found: Resource | None = job.get("template")
    return found if found and "containers" in found.get("spec", {}) else None


def pods(name: str) -> Iterator[tuple[str, Resource]]:
    """(which, template) of everything that makes pods."""
    for resource in rendered(name):
        found = template(resource)
        if found is not None:
            yield named(resource), found


def containers(name: str) -> Iterator[tuple[str, Resource]]:
    """(which, container) of every pod."""
    for which, pod in pods(name):
        for each in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            yield f"{which}/{each['name']}", each


def of_kind(found: Iterator[Resource] | list[Resource], kind: str) -> list[Resource]:
    """The resources of one kind."""
    return [each for each in found if each["kind"] == kind]


def fits(selector: Resource, labels: dict[str, str]) -> bool:
    """Whether a label selector chooses these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def environment_of(name: str, container: Resource) -> dict[str, str]:
    """The plain values that a container gets."""
    values: dict[str, str] = {}
    for each in container.get("envFrom", ()):
        values |= one(name, "ConfigMap", each["configMapRef"]["name"])["data"]
    return values | {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}
