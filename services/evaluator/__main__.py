"""Serve the evaluator: ``python -m services.evaluator``."""

from tessera.runtime.service import main

if __name__ == "__main__":
    main("evaluator")
