"""Serve the partitioner: ``python -m services.partitioner``."""

from tessera.runtime.service import main

if __name__ == "__main__":
    main("partitioner")
