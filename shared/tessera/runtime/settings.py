"""Process settings: one class, read from the environment with the prefix ``TESSERA_``; experiments live in recipes."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from tessera.errors import BadInput
from tessera.runtime import memory

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "tessera"


def _default_store() -> str:
    return (_xdg("XDG_DATA_HOME", ".local/share") / "store").absolute().as_uri()


class Settings(BaseSettings):
    """Where this process finds NATS and the store, and its limits; every field is ``TESSERA_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="TESSERA_", extra="ignore", frozen=True, validate_default=True)

    # Messages.
    nats_url: str = "nats://127.0.0.1:4222"
    """Addresses of a cluster's servers, separated by commas."""
    nats_token: SecretStr | None = None
    nats_credentials: Path | None = None
    """Path of a NATS credentials file (JWT and NKey)."""
    nats_user: str = ""
    """This process's user at NATS, where each service has its own (``tessera nats-permissions``)."""
    nats_password: SecretStr | None = None
    nats_ca: Path | None = None
    """Certificate authority of the NATS server. With it, or with an address ``tls://…``, the connection is TLS."""
    nats_cert: Path | None = None
    """Certificate that this process shows to NATS, where the server asks for one; ``nats_key`` is its key."""
    nats_key: Path | None = None
    nats_replicas: int = Field(1, ge=1, le=5)
    """Copies of every stream; 3 in a cluster."""
    message_bytes: int = Field(64 * KIB, ge=KIB)
    """Largest message on our streams; a job's request that is larger lies in the store, and the message names it."""
    jobs_limit: int = Field(100_000, ge=1)
    """Largest number of waiting jobs; beyond it the publisher is refused and waits."""
    jobs_bytes: int = Field(0, ge=0)
    """Quota of the queue in bytes; beyond it the publisher is refused and waits. 0: none."""
    events_bytes: int = Field(0, ge=0)
    """Quota of the logs of runs in bytes; beyond it runs wait, and none loses an event. 0: none."""
    dlq_bytes: int = Field(0, ge=0)
    """Quota of the dead letters in bytes; beyond it the oldest go. 0: none."""
    duplicate_window: float = 600.0
    """Seconds in which NATS drops a second message with the same id."""

    # Objects.
    store: str = Field(default_factory=_default_store)
    """``file:///folder`` or ``s3://bucket/prefix``."""
    s3_endpoint: str | None = None
    """``host:port`` of the S3 server, without a scheme."""
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    s3_region: str = "us-east-1"
    s3_secure: bool = True
    """TLS; off only for a server on a trusted network."""
    s3_ca: Path | None = None
    """Certificate authority of the S3 server, where it is not in the system's list."""
    s3_connect_timeout: float = Field(3.0, gt=0)
    s3_read_timeout: float = Field(30.0, gt=0)
    s3_attempts: int = Field(6, ge=1)
    """Tries of each S3 call, with growing, jittered pauses between them."""
    s3_part_bytes: int = Field(8 * MIB, ge=5 * MIB)
    record_key: SecretStr | None = None
    """Key of the seal on job records (HMAC-SHA256): whoever writes to the store without it cannot forge a result.
    Every worker needs the same; records without its seal count as absent and are computed again."""
    object_bytes: int = Field(4 * GIB, ge=KIB)
    """Largest object that is read or written."""
    store_quota_bytes: int = Field(0, ge=0)
    """Bytes that the store should hold at most; 0: not said. Nothing is refused: a metric says it, for an alert."""
    fsync: bool = True
    """Flush every file of a ``file://`` store to the disk before it gets its name."""
    cache_dir: Path = Field(default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache"))
    cache_bytes: int = Field(20 * GIB, ge=0)
    """Size of the local copy of S3 objects that are read; the least recently used leave first."""
    cache_keep_seconds: float = Field(600.0, ge=0)
    """A copy used within this time is never dropped, whatever the size: a job may still be reading it."""
    kernels: Path | None = None
    """Folder of kernels compiled beforehand, which container images hold; copied into ``cache_dir`` at the start."""

    # Computation.
    prepare: bool = False
    """Whether a service starts its compute children and imports their libraries before it takes a job. Container images
    set it; without it a process on a developer's machine starts faster and holds less."""
    cores: int = Field(0, ge=0)
    """Cores that compute may take; 0: those this process may run on."""
    children: int = Field(0, ge=0)
    """Compute children of a process; 0: one per core."""
    child_memory_bytes: int = Field(0, ge=0)
    """Resident memory at which a single compute child is stopped; 0: only the limit on all of them together."""
    compute_memory_bytes: int = Field(0, ge=0)
    """Memory that all compute children of this process may use together; beyond it the largest is stopped. 0: 80 % of
    the machine's memory or of the container's limit, if that is less."""
    child_address_bytes: int = Field(0, ge=0)
    """RLIMIT_AS of a compute child; 0: no limit. torch reserves several GiB that it never touches."""
    child_nice: int = Field(2, ge=0, le=19)
    """Niceness of compute, so that heartbeats are on time on a busy machine."""
    checkpoint_seconds: float = Field(30.0, ge=0)
    """Seconds between two checkpoints of a training, at the end of an epoch; more where keeping one takes more than a
    twentieth of that."""
    training_processes: int = Field(1, ge=0, le=64)
    """Processes of one training, each with a part of every batch; 0: one for each CUDA device. Methods that cannot be
    parted train in one."""
    scratch_dir: Path | None = None
    """Folder for outputs of compute before their upload; default: the system's temporary folder."""

    # Workers.
    ack_wait: float = Field(30.0, gt=0)
    heartbeat: float = Field(10.0, gt=0)
    fetch_expires: float = Field(5.0, gt=0)
    max_attempts: int = Field(5, ge=1)
    """Attempts of a job, counted in our own KV: NATS forgets its count when it restarts."""
    version_patience: float = Field(600.0, ge=0)
    """Seconds for which a job that names another algorithm version is passed on until a worker of that version takes
    it; then it fails."""
    sweep_seconds: float = Field(60.0, gt=0)
    """Seconds between two searches for messages that NATS delivers no more."""
    look_seconds: float = Field(120.0, gt=0)
    """Longest time in seconds between two searches of a coordinator for jobs without result, failure or message."""
    drain_seconds: float = Field(60.0, ge=0)
    """Seconds that SIGTERM waits for the running jobs."""
    idle_seconds: float = Field(0.0, ge=0)
    """Seconds without a job or a call after which the process leaves, with exit code 0; 0: it stays. For a pod that is
    started for a job and has to end (a ScaledJob)."""

    # Coordinator.
    algorithms: dict[str, str] = Field(default_factory=dict)
    """Versions of methods that somebody else's workers serve, as JSON: ``{"Select": "acme-top/1"}``. The coordinator
    names their jobs with these, so that our workers pass them on and results are never mixed up."""
    archive_seconds: float = Field(86_400.0, ge=0)
    """Seconds after its end until a run's log moves from NATS into the store."""

    # Whoever follows a run.
    tracking: Literal["none", "mlflow"] = "none"
    """Experiment tracker to which ``tessera run``, ``resume`` and ``watch`` send losses, speed, mIoU and cost; see
    `tessera.cli.tracking`."""

    # gRPC.
    grpc_host: str = "127.0.0.1"
    grpc_port: int = Field(0, ge=0, le=65535)
    """0: any free port."""
    grpc_cert: Path | None = None
    """Certificate of this process (PEM, with the chain): its server speaks TLS, and its calls show it to servers."""
    grpc_key: Path | None = None
    grpc_ca: Path | None = None
    """Certificate authority of servers, and of clients that show a certificate. With it, calls are TLS."""
    grpc_client_certs: bool = False
    """Answer only clients that show a certificate of the authority."""
    access: Path | None = None
    """File of callers and their roles (`runtime.access`). Without it, whoever reaches the gRPC port may call."""
    token: SecretStr | None = None
    """Token that calls of this process carry."""
    token_file: Path | None = None
    """File that holds it instead."""
    insecure: bool = False
    """Serve other machines without TLS or without asking who calls, and send tokens in the clear: on a network where
    something else protects the port."""
    grpc_message_bytes: int = Field(4 * MIB, ge=KIB)
    request_bytes: int = Field(256 * MIB, ge=KIB)
    """Largest request of a job that is read from the store: 612 bytes per shard, and 150 more with a score table."""
    grpc_concurrency: int = Field(64, ge=1)
    """Largest number of calls answered at the same time; health checks do not count."""
    grpc_streams: int = Field(256, ge=1)
    """Largest number of open streams (clients that watch runs); calls are counted separately."""
    grpc_keepalive: float = Field(30.0, gt=0)

    # Dashboard.
    coordinator: str = ""
    """``host:port`` of the coordinator that the dashboard shows."""
    http_host: str = "127.0.0.1"
    http_port: int = Field(0, ge=0, le=65535)
    """0: any free port."""
    http_token: SecretStr | None = None
    """The operator's token. Annotators' links and sessions are signed with a key that is made from it."""
    http_cert: Path | None = None
    """Certificate of the dashboard (PEM, with the chain): it speaks TLS, and browsers come back over nothing else."""
    http_key: Path | None = None
    http_secure: bool = False
    """Whether a server in front speaks TLS to people: then browsers send the cookie over nothing else."""

    # Notices of the coordinator.
    webhook: str = Field("", pattern=r"^(https?://\S+)?$")
    """Address that is told of every complete round and of the end of a run: a POST of JSON, at least once."""
    webhook_secret: SecretStr | None = None
    """Key of the signature in ``X-Tessera-Signature``: ``sha256=`` and the HMAC of the body."""

    # Metrics, traces, logs.
    metrics_port: int | None = Field(None, ge=0, le=65535)
    """Port at which Prometheus reads /metrics of this process; without it nothing is measured. 0: any free port."""
    metrics_host: str = "127.0.0.1"
    """Address for that port: whoever reaches it reads every number, but no name of a run."""
    tracing: Literal["none", "otlp"] = "none"
    """Send spans to an OpenTelemetry collector (OTEL_EXPORTER_OTLP_ENDPOINT); needs ``tessera-al[otel]``."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "plain"] = "json"

    @model_validator(mode="after")
    def _heartbeats_in_time(self) -> Settings:
        """Refuse settings under which a healthy worker loses its job: it is delivered again before its first sign."""
        if self.heartbeat >= self.ack_wait:
            raise ValueError(
                f"TESSERA_HEARTBEAT is {self.heartbeat:g} s and TESSERA_ACK_WAIT {self.ack_wait:g} s; a heartbeat must "
                "be shorter than the wait, set it to a third of it"
            )
        return self

    @model_validator(mode="after")
    def _certificates_are_whole(self) -> Settings:
        """Refuse a certificate without its key or authority, and the reverse."""
        for name in ("grpc", "nats", "http"):
            cert, key = getattr(self, f"{name}_cert"), getattr(self, f"{name}_key")
            if (cert is None) != (key is None):
                raise ValueError(f"TESSERA_{name.upper()}_CERT and TESSERA_{name.upper()}_KEY: set both or neither")
        if self.grpc_cert is not None and self.grpc_ca is None:
            raise ValueError("TESSERA_GRPC_CERT: needs TESSERA_GRPC_CA, by which clients and the health check trust it")
        if self.grpc_client_certs and self.grpc_cert is None:
            raise ValueError("TESSERA_GRPC_CLIENT_CERTS: needs TESSERA_GRPC_CERT; clients show certificates over TLS")
        return self

    def memory_limit(self) -> int:
        """Return the memory in bytes that all compute children of this process may use together."""
        return self.compute_memory_bytes or memory.default_limit()

    def core_count(self) -> int:
        """Return the number of cores that compute may take."""
        if self.cores:
            return self.cores
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def secrets(self) -> tuple[str, ...]:
        """Return the values that must never reach a log, a metric or an error message."""
        fields = (
            self.nats_token,
            self.nats_password,
            self.s3_access_key,
            self.s3_secret_key,
            self.record_key,
            self.token,
            self.http_token,
            self.webhook_secret,
        )
        given = [field.get_secret_value() for field in fields if field is not None]
        for server in self.nats_url.split(","):
            address = urlsplit(server.strip())
            given += [address.password or "", (address.username or "") if address.password is None else ""]
        if self.token_file is not None:
            # Whoever calls reads it anew; a file that cannot be read is reported there.
            with contextlib.suppress(OSError, ValueError):
                given.append(self.token_file.read_text().strip())
        return tuple(value for value in given if value)


def load(**overrides: object) -> Settings:
    """Read settings from the environment, ``overrides`` first; BadInput names the variable that does not fit."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic validates what the overrides hold
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in fault["loc"])
            # An error about several fields names them itself.
            lines.append(
                f"TESSERA_{name.upper()}: {fault['msg']}" if name else fault["msg"].removeprefix("Value error, ")
            )
        raise BadInput("settings: " + "; ".join(lines)) from None
    except SettingsError as error:
        # A value that is no JSON, where JSON is wanted; the library names the field and nothing else.
        named = re.search(r'field "(\w+)"', str(error))
        name = f"TESSERA_{named[1].upper()}" if named else "a value"
        raise BadInput(
            f'settings: {name}: is no JSON; write an object, for example {{"Select": "acme-top/1"}}'
        ) from None
