"""Certificates for tests, made as an operator makes them: by deploy/tls/certificates.sh, which needs openssl."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "deploy/tls/certificates.sh"


def make(folder: Path, *names: str, days: int | None = None) -> Path:
    """An authority in ``folder``, and a certificate of it for each ``NAME`` or ``NAME=SAN,SAN``."""
    environment = {**os.environ, **({} if days is None else {"DAYS": str(days)})}
    subprocess.run(["sh", str(SCRIPT), str(folder), *names], check=True, env=environment, timeout=60)
    return folder


def serving(folder: Path, name: str) -> dict[str, Any]:
    """Settings of a process that has this certificate."""
    return {"grpc_ca": folder / "ca.crt", "grpc_cert": folder / f"{name}.crt", "grpc_key": folder / f"{name}.key"}
