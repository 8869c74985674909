"""Serve the dashboard: ``python -m services.dashboard``."""

from tessera.runtime.service import main

main("dashboard")
