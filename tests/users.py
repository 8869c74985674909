"""A NATS server in which every service has its own user, with the permissions that Tessera generates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from servers import NatsProcess
from tessera.runtime.permissions import configuration, table, variable


def password(user: str) -> str:
    return f"pa55-of-{user}"


def login(user: str) -> dict[str, Any]:
    """Settings of a process that is this user."""
    return {"nats_user": user, "nats_password": password(user)}


class NatsWithUsers(NatsProcess):
    def __init__(self, folder: Path, *, account: str = "", jetstream: bool = True) -> None:
        super().__init__(folder)
        self._account, self._jetstream = account, jetstream

    def arguments(self) -> list[str]:
        super().arguments()
        # The server reads the passwords from its environment, which is this process's.
        os.environ.update({variable(user): password(user) for user in table()})
        file = self.folder / "nats.conf"
        text = file.read_text() if self._jetstream else f'listen: "127.0.0.1:{self.port}"\n'
        (self.folder / "users.conf").write_text(configuration(self._account))
        file.write_text(f'{text}include "users.conf"\n')
        return ["-c", str(file)]
