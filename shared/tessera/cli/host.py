"""A process of the local stack: ``python -m tessera.cli.host all`` hosts every service, ``… scorer`` the scorer."""

from __future__ import annotations

import sys


def main() -> None:
    """Serve until a signal says stop."""
    from tessera.cli.stack import SERVICES
    from tessera.runtime import service

    service.main(*(SERVICES if sys.argv[1:] == ["all"] else sys.argv[1:]))


if __name__ == "__main__":
    main()
