"""Serve the embedder: ``python -m services.embedder``."""

from tessera.runtime.service import main

if __name__ == "__main__":
    main("embedder")
