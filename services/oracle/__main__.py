"""Serve the oracle: ``python -m services.oracle``."""

from tessera.runtime.service import main

if __name__ == "__main__":
    main("oracle")
