"""A process of the local stack: ``python -m tessera.cli.host all`` hosts every service, ``… scorer`` the scorer."""

from __future__ import annotations

import os
import signal
import sys
import threading


def watch_lifeline() -> None:
    """End this process by SIGTERM when stdin closes: the command line that started it is gone."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def main() -> None:
    """Serve until told to stop."""
    from tessera.cli.stack import SERVICES
    from tessera.runtime import service

    watch_lifeline()
    wanted = list(SERVICES) if sys.argv[1:] == ["all"] else sys.argv[1:]
    service.main(*wanted)


if __name__ == "__main__":
    main()
