"""Serve the selector: ``python -m services.selector``."""

from tessera.runtime.service import main

if __name__ == "__main__":
    main("selector")
