"""A real Prometheus on loopback, and promtool, where Debian's package ``prometheus`` is installed."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.rendering import one
from servers import ServerProcess, find_binary

ABSENT = "no {} here (Debian: apt-get install --no-install-recommends prometheus)"


def missing(*programs: str) -> str | None:
    """Why Prometheus cannot be asked here; None where it can."""
    absent = next((each for each in programs if find_binary(each) is None), None)
    return ABSENT.format(absent) if absent else None


def rules() -> dict[str, Any]:
    """The alerts as a file of Prometheus has them: the operator's resource without its wrapping."""
    found: dict[str, Any] = one("overlays/prod", "PrometheusRule", "tessera")["spec"]
    return found


def promtool(*arguments: object, folder: Path) -> str:
    """Run promtool; the test fails with what it said."""
    program = find_binary("promtool")
    assert program is not None
    done = subprocess.run(
        [program, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus(ServerProcess):
    """Scrapes the services and keeps these rules, both every second."""

    binary = "prometheus"

    def __init__(self, folder: Path, targets: dict[str, str], groups: Sequence[dict[str, Any]]) -> None:
        """``targets``: pod to ``host:port``."""
        super().__init__(folder)
        self.configuration = folder / "prometheus.yml"
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": list(groups)}))
        # The labels that the operator gives what a PodMonitor finds.
        static = [
            {"targets": [where], "labels": {"pod": pod, "namespace": "tessera", "container": "service"}}
            for pod, where in targets.items()
        ]
        content = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "tessera/services", "static_configs": static}],
        }
        self.configuration.write_text(yaml.safe_dump(content))

    def arguments(self) -> list[str]:
        return [
            f"--config.file={self.configuration}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]

    def ready(self) -> bool:
        return self._greeting(b"GET /-/ready HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK")

    def get(self, path: str, **parameters: str) -> Any:
        """What an address of the HTTP API answers; HTTPError says what Prometheus refuses."""
        asked = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(asked, timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        assert not found.get("warnings"), found["warnings"]
        return found["data"]

    def ask(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The values of an expression now, with their labels."""
        found = self.get("query", query=expression)
        assert found["resultType"] == "vector", found
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def states(self) -> dict[str, str]:
        """The alerts that are active, by name: pending or firing."""
        active = self.get("alerts")["alerts"]
        return {each["labels"]["alertname"]: each["state"] for each in active}
