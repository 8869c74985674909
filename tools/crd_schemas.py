"""Write tests/deploy/custom_resources.json: JSON Schemas of the custom resources that deploy/kubernetes uses.

They come from the models that cloudcoil generates of the projects' own definitions (Apache-2.0, as these projects are):
KEDA, cert-manager, Prometheus operator. Their packages need not be in the development environment; give an interpreter
that has them:

    python -m venv /tmp/models && /tmp/models/bin/pip install cloudcoil-models-keda cloudcoil-models-cert-manager \
        cloudcoil-models-prometheus-operator && /tmp/models/bin/python tools/crd_schemas.py

Left out: descriptions, ``metadata`` and ``status``, and the job within a ScaledJob, which is checked as a Job.
"""

from __future__ import annotations

import importlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent.parent / "tests" / "deploy" / "custom_resources.json"
KINDS = {
    "keda.sh/v1alpha1": ("cloudcoil.models.keda.v1alpha1", ("ScaledObject", "ScaledJob")),
    "cert-manager.io/v1": ("cloudcoil.models.cert_manager.v1", ("Certificate", "Issuer")),
    "monitoring.coreos.com/v1": ("cloudcoil.models.prometheus_operator.v1", ("PodMonitor", "PrometheusRule")),
}
PACKAGES = ("cloudcoil.models.keda", "cloudcoil.models.cert_manager", "cloudcoil.models.prometheus_operator")


def strict(schema: Any) -> Any:
    """Return the schema without prose, and with every object closed, so that a misspelt field is a fault."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: each for name, each in schema.items() if name not in ("description", "title", "default", "examples")}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {name: strict(each) for name, each in schema["properties"].items()}
        if kept["properties"]:
            kept.setdefault("additionalProperties", False)
    return {name: each if name == "properties" else strict(each) for name, each in kept.items()}


def reached(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions that the schema refers to, directly or not."""
    found: dict[str, Any] = {}
    waiting = [json.dumps(schema)]
    while waiting:
        text = waiting.pop()
        for name, each in definitions.items():
            if name not in found and f'"#/$defs/{name}"' in text:
                found[name] = each
                waiting.append(json.dumps(each))
    return found


def main() -> None:
    """Write the file."""
    origin = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    made: dict[str, Any] = {"$comment": f"Written by tools/crd_schemas.py from {origin} (Apache-2.0)"}
    for group, (module, kinds) in KINDS.items():
        for kind in kinds:
            raw = getattr(importlib.import_module(module), kind).model_json_schema(by_alias=True)
            definitions = raw.pop("$defs")
            for name in ("metadata", "status"):
                raw["properties"][name] = {}
            if kind == "ScaledJob":
                definitions["ScaledJobSpec"]["properties"]["jobTargetRef"] = {}
            schema = strict(raw)
            schema["$defs"] = reached(schema, {name: strict(each) for name, each in definitions.items()})
            made[f"{group}/{kind}"] = schema
    OUT.write_text(json.dumps(made, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
