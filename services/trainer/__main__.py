"""Serve the trainer: ``python -m services.trainer``."""

from tessera.runtime.service import main

if __name__ == "__main__":
    main("trainer")
