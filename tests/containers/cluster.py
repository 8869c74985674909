"""Actions of tests on a deployment: start services, submit a run over gRPC, follow it, read its log."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from containers.deployment import SETTINGS, STARTED_SECONDS, Deployment, Member
from containers.engine import SERVICES
from integration.loop import command, environment, selections
from tessera.errors import TesseraError
from tessera.pb.runs_pb2 import RunStatus, RunView
from tessera.runtime import rpc
from tessera.runtime.runs_client import RunsClient

RUN_SECONDS = 900.0


class Cluster:
    """A deployment with one member of each of these services."""

    def __init__(self, deployment: Deployment, services: Iterable[str] = SERVICES) -> None:
        self.deployment = deployment
        self.members: dict[str, list[Member]] = {}
        self.add(*services)

    def add(self, *services: str, old: bool = False, **settings: str) -> None:
        """Start one more of each, of this version or the old one, with these settings beside the deployment's own, and
        wait until they serve.
        """
        for service, member in [(each, self.deployment.start(each, old=old, **settings)) for each in services]:
            self.adopt(service, member)

    def adopt(self, service: str, member: Member) -> None:
        """Count a member among those of a service, and wait until it serves."""
        self.members.setdefault(service, []).append(member)
        wait(lambda: asyncio.run(rpc.is_serving(member.address)), STARTED_SECONDS, service, member)

    def environment(self) -> dict[str, str]:
        """Settings of a client outside the deployment."""
        return environment(
            **SETTINGS,
            TESSERA_NATS_URL=f"nats://{self.deployment.nats.address}",
            TESSERA_S3_ENDPOINT=self.deployment.s3.address,
            TESSERA_COORDINATOR=self.coordinator,
        )

    @property
    def coordinator(self) -> str:
        """Address of the newest coordinator."""
        return self.members["coordinator"][-1].address

    def call(self, *arguments: object, seconds: float = RUN_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run the command line against this cluster."""
        return subprocess.run(
            command(*arguments),
            capture_output=True,
            text=True,
            timeout=seconds,
            env=self.environment(),
            check=False,
        )

    def submit(self, recipe: Path, seed: int = 5) -> str:
        """Submit the recipe and return the run's name."""
        done = self.call("submit", recipe, "--seed", seed)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def finish(self, run: str, out: Path) -> list[str]:
        """Follow the run to its end; return its selections."""
        done = self.call("watch", run, "--out", out)
        assert done.returncode == 0, done.stderr + self.logs()
        return selections(out)

    def audit(self, run: str) -> None:
        """Hold the run to every invariant: its log, records, objects, queue and labels."""
        nats, store = f"nats://{self.deployment.nats.address}", SETTINGS["TESSERA_STORE"]
        done = self.call("audit", run, "--nats", nats, "--store", store, "--coordinator", self.coordinator)
        assert done.returncode == 0, done.stdout + done.stderr

    def view(self, run: str) -> RunView:
        """Return the state of the run, as soon as the coordinator says it."""
        found = wait(lambda: self._asked(run), STARTED_SECONDS, f"the state of {run}")
        assert isinstance(found, RunView)
        return found

    def _asked(self, run: str) -> RunView | None:
        async def ask() -> RunView:
            async with RunsClient(self.coordinator) as runs:
                return await runs.get(run)

        try:
            return asyncio.run(ask())
        except TesseraError:
            return None

    def reaches(self, run: str, condition: Callable[[RunView], bool], what: str) -> RunView:
        """Wait until the run's picture fits; the test fails when the run ends before."""

        def look() -> RunView | None:
            view = self._asked(run)
            if view is None or condition(view):
                return view
            assert view.status == RunStatus.RUN_STATUS_RUNNING, f"{what}: the run ended before; {view.message}"
            return None

        found = wait(look, RUN_SECONDS, what)
        assert isinstance(found, RunView)
        return found

    def logs(self, services: Iterable[str] = SERVICES) -> str:
        """Return the end of the services' logs."""
        return "".join(
            f"\n--- {name}\n{member.log()[-1500:]}" for name in services for member in self.members.get(name, [])
        )


def wait(condition: Callable[[], object], seconds: float, what: str, member: Member | None = None) -> object:
    """Wait for a value that is neither false nor None, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out waiting for {what}" + (f"\n{member.log()[-3000:]}" if member else ""))
        time.sleep(0.1)
    return value
