"""The overlay "dev" as podman plays it: the rendered pods, with our images, on this machine.

podman 4 plays Deployments, Pods, ConfigMaps and claims. It knows no Service and no Job, runs curl in a pod for a probe,
takes $(VARIABLE) in arguments as it stands, and crashes at a volume of a Secret without "optional". So a Job is played
as its pod, a Service is a name in podman's network, the test asks the probes in the kubelet's place, arguments are
filled in, and the ports that a test needs lie on loopback. Everything else is what the API server would get.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import subprocess
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from containers.deployment import SETTINGS, Member
from containers.engine import NATS_IMAGES, S3_IMAGES, SERVICES, chosen, image, image_is_here, server_image
from deploy.rendering import FOLDER, Resource
from servers import ACCESS_KEY, SECRET_KEY, find_binary, free_port
from tessera.runtime import rpc

# What a test changes of the settings: short waits. The store, its keys and its address are the overlay's.
_WAITS = {
    name: value for name, value in SETTINGS.items() if "_S3_" not in name and not name.endswith(("_STORE", "_CORES"))
}
PLAYED = (*SERVICES, "dashboard")
"""Every Deployment of the overlay but the two servers."""
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def run(*arguments: str, seconds: float = 300, text: str | None = None) -> str:
    """Call podman or another program; the test fails with what it said."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=seconds, input=text, check=False)
    assert done.returncode == 0, f"{' '.join(arguments[:4])}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
    return done.stdout


def why_not() -> str | None:
    """Why pods cannot be played here; None where they can."""
    for program in ("podman", "docker", "kubectl"):
        if find_binary(program) is None:
            return f"no {program} here"
    if chosen().backend != "docker":
        return chosen().reason
    missing = [image(each) for each in (*PLAYED, "client") if not image_is_here(each)]
    return f"the engine has no {', '.join(missing)}; build them with make images" if missing else None


class PodMember:
    """One pod with one container that serves: where each of its ports is on loopback, and its probes by their names."""

    def __init__(self, name: str, container: str, ports: Mapping[str, int], probes: Mapping[str, Resource]) -> None:
        self._pod, self._container = name, f"{name}-{container}"
        self._ports, self._probes = dict(ports), dict(probes)

    @property
    def address(self) -> str:
        """Where its first port is."""
        return self.at(next(iter(self._ports)))

    def at(self, port: str) -> str:
        """``host:port`` of a port by its name."""
        return f"127.0.0.1:{self._ports[port]}"

    def failing(self) -> list[str]:
        """The probes that fail, asked once as the kubelet asks them, from outside."""
        return [name for name, probe in self._probes.items() if not self._passes(probe)]

    def _passes(self, probe: Resource) -> bool:
        (kind,) = {"grpc", "tcpSocket", "httpGet"} & set(probe)
        asked = probe[kind]
        host, _, port = self.at(str(asked["port"])).rpartition(":")
        if kind == "grpc":
            return asyncio.run(rpc.is_serving(f"{host}:{port}"))
        try:
            if kind == "tcpSocket":
                socket.create_connection((host, int(port)), timeout=5).close()
                return True
            with urllib.request.urlopen(f"http://{host}:{port}{asked['path']}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        run("podman", "pod", "kill", self._pod)

    def terminate(self) -> int:
        # Podman waits as long as the pod's own grace time says.
        run("podman", "pod", "stop", "--time", "90", self._pod)
        return int(run("podman", "inspect", "--format", "{{.State.ExitCode}}", self._container))

    def restart(self) -> None:
        run("podman", "pod", "restart", self._pod)

    def pause(self) -> None:
        run("podman", "pod", "pause", self._pod)

    def unpause(self) -> None:
        run("podman", "pod", "unpause", self._pod)

    def log(self) -> str:
        done = subprocess.run(
            ["podman", "logs", self._container], capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr

    def facts(self) -> dict[str, Any]:
        """What podman says of the container."""
        (found,) = json.loads(run("podman", "inspect", self._container))
        known: dict[str, Any] = found
        return known


class Pods:
    """NATS, S3, the two Jobs and any number of each service, as pods in one network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = f"tessera-{uuid.uuid4().hex[:8]}"
        self._played: list[str] = []
        self._resources = _rendered(folder)
        self._secrets = [each["metadata"]["name"] for each in self._all("Secret")]
        mounted = set(self._mounted_secrets())
        # Podman makes a volume of a ConfigMap, too, and of a Secret that is mounted.
        kept = [*self._all("ConfigMap"), *self._all("PersistentVolumeClaim")]
        self._volumes = [*mounted, *(each["metadata"]["name"] for each in kept)]
        # A test that was cut off left some: their names are needed, and its volumes hold another run.
        self._remove_kept()
        run("podman", "network", "create", self._mark)
        try:
            for secret in self._all("Secret"):
                name, data = secret["metadata"]["name"], secret["data"]
                if name in mounted:
                    # Podman reads the whole Secret for a volume, and leaves values as it finds them.
                    data = {**secret, "data": {key: base64.b64decode(each).decode() for key, each in data.items()}}
                # For a variable it reads the data alone.
                run("podman", "secret", "create", name, "-", text=json.dumps(data))
            self.nats: Member = self._deployment("nats")
            self.s3: Member = self._deployment("s3")
            for task in ("bucket", "topology"):
                self.task(task)
        except BaseException:
            self.close()
            raise

    def start(self, service: str, *, old: bool = False, **settings: str) -> PodMember:
        """Play the service's Deployment once more, as its controller does for a replica."""
        assert (old, settings) == (False, {}), "a pod is what the overlay says"
        return self._deployment(service)

    def start_example(self, built: Path, settings: Mapping[str, str]) -> Member:
        raise NotImplementedError("the overlay has no such pod")

    def close(self) -> None:
        for pod in reversed(self._played):
            subprocess.run(
                ["podman", "pod", "rm", "--force", "--time", "0", pod], capture_output=True, timeout=120, check=False
            )
        self._remove_kept()
        subprocess.run(["podman", "network", "rm", self._mark], capture_output=True, timeout=120, check=False)

    def _remove_kept(self) -> None:
        """Remove the secrets and volumes of the overlay, where there are any."""
        for kind, names in (("volume", self._volumes), ("secret", self._secrets)):
            for name in names:
                subprocess.run(["podman", kind, "rm", name], capture_output=True, timeout=120, check=False)

    def _all(self, kind: str) -> list[Resource]:
        return [each for each in self._resources if each["kind"] == kind]

    def _one(self, kind: str, name: str) -> Resource:
        (found,) = [each for each in self._all(kind) if each["metadata"]["name"] == name]
        return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # a copy

    def _mounted_secrets(self) -> Iterator[str]:
        for each in self._all("Deployment"):
            for volume in each["spec"]["template"]["spec"]["volumes"]:
                if "secret" in volume:
                    yield volume["secret"]["secretName"]

    def _deployment(self, name: str) -> PodMember:
        made = self._one("Deployment", name)
        called = f"{self._mark}-{name}-{len(self._played)}"
        made["metadata"]["name"] = called
        made["spec"]["replicas"] = 1
        spec = made["spec"]["template"]["spec"]
        for volume in spec["volumes"]:
            if "secret" in volume:
                volume["secret"]["optional"] = False
        (only,) = spec["containers"]
        probes = {probe: only.pop(probe) for probe in _PROBES}
        if "args" in only:
            only["args"] = [self._filled(each, only) for each in only["args"]]
        ports: dict[str, int] = {}
        for each in only["ports"]:
            # A probe names a port or says its number.
            ports[each["name"]] = ports[str(each["containerPort"])] = each["hostPort"] = free_port()
            each["hostIP"] = "127.0.0.1"
        pod = f"{called}-pod-0"
        self._play(pod, name, made)
        return PodMember(pod, only["name"], ports, probes)

    def _filled(self, text: str, container: Resource) -> str:
        """An argument with the variables that it names, as Kubernetes fills them in."""
        for each in container.get("env", ()):
            source = each.get("valueFrom", {}).get("secretKeyRef")
            if source and f"$({each['name']})" in text:
                value = base64.b64decode(self._one("Secret", source["name"])["data"][source["key"]]).decode()
                text = text.replace(f"$({each['name']})", value)
        return text

    def task(self, name: str, *arguments: str) -> str:
        """Play a Job's pod, with other arguments if there are any, wait for its success, and return its log."""
        pod = f"{self._mark}-{name}-{len(self._played)}"
        spec = self._one("Job", name)["spec"]["template"]["spec"]
        if arguments:
            spec["containers"][0]["args"] = list(arguments)
            spec["restartPolicy"] = "Never"
        self._play(pod, pod, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": spec})
        done = subprocess.run(
            ["podman", "wait", f"{pod}-service"], capture_output=True, text=True, timeout=180, check=False
        )
        log = PodMember(pod, "service", {}, {}).log()
        assert done.stdout.strip() == "0", log
        return log

    def _play(self, pod: str, alias: str, made: Resource) -> None:
        claims = [each for each in self._all("PersistentVolumeClaim") if each["metadata"]["name"] == alias]
        path = self._folder / f"{pod}.yaml"
        path.write_text(yaml.safe_dump_all([*self._all("ConfigMap"), *claims, made]))
        self._played.append(pod)
        run("podman", "kube", "play", "--network", f"{self._mark}:alias={alias}", str(path))


def _rendered(folder: Path) -> list[Resource]:
    """The overlay "dev", with images of this machine, keys of the tests and short waits."""
    servers = {"nats": server_image(NATS_IMAGES), "rclone/rclone": server_image(S3_IMAGES)}
    ours = {f"tessera/{service}": image(service) for service in (*PLAYED, "client")}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        overlay = Path(shutil.copytree(FOLDER, Path(scratch) / "kubernetes")) / "overlays" / "here"
        overlay.mkdir()
        content = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "tessera",
            "resources": ["../dev"],
            "images": [
                {"name": name, "newName": where.rpartition(":")[0], "newTag": where.rpartition(":")[2]}
                for name, where in _moved({**servers, **ours}).items()
            ],
            "configMapGenerator": [
                {
                    "name": "tessera",
                    "behavior": "merge",
                    "literals": [f"{name}={value}" for name, value in _WAITS.items()],
                }
            ],
            "secretGenerator": [
                {
                    "name": "tessera-s3",
                    "behavior": "merge",
                    "literals": [f"access-key={ACCESS_KEY}", f"secret-key={SECRET_KEY}"],
                }
            ],
        }
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return list(yaml.safe_load_all(run(str(find_binary("kubectl")), "kustomize", str(overlay))))


def _moved(images: dict[str, str]) -> dict[str, str]:
    """Copy Docker's images that podman lacks to podman; returns their names there."""
    there: dict[str, str] = {}
    missing: list[str] = []
    for name, where in images.items():
        number = run("docker", "image", "inspect", "--format", "{{.Id}}", where).strip().removeprefix("sha256:")
        there[name] = f"localhost/{where}"
        known = subprocess.run(
            ["podman", "image", "inspect", "--format", "{{.Id}}", there[name]],
            capture_output=True,
            text=True,
            check=False,
        )
        if known.stdout.strip() != number:
            missing.append(where)
    if missing:
        with subprocess.Popen(["docker", "save", *missing], stdout=subprocess.PIPE) as saving:
            loaded = subprocess.run(
                ["podman", "load"], stdin=saving.stdout, capture_output=True, text=True, timeout=900, check=True
            )
        for line in loaded.stdout.splitlines():
            found = line.removeprefix("Loaded image: ").strip()
            plain = found.partition("/")[2]
            if plain in missing and found != f"localhost/{plain}":
                run("podman", "tag", found, f"localhost/{plain}")
    return there
