"""Serve the scorer: ``python -m services.scorer``."""

from tessera.runtime.service import main

if __name__ == "__main__":
    main("scorer")
