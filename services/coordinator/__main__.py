"""Serve the coordinator: ``python -m services.coordinator``."""

from tessera.runtime.service import main

main("coordinator")
