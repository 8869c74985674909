"""Compute threads of the child, per job: results may depend on their number, so no library chooses for itself."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, Final

# Libraries with a thread pool of their own, told as soon as they are imported, which may be in the middle of a job.
_LIBRARIES: Final = ("torch", "numba", "cv2", "sklearn", "tessera.compile")
_threads = 1


def install() -> None:
    """Set every library's thread count as soon as it is imported."""
    sys.meta_path.insert(0, _Finder())


def set_threads(threads: int) -> None:
    """Set the number of compute threads, for libraries loaded now and later."""
    global _threads
    _threads = threads
    # Read by an OpenMP runtime when it is loaded; afterwards only its functions count.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    for name in _LIBRARIES:
        if name in sys.modules:
            _tell(name, sys.modules[name])


def _tell(name: str, module: Any) -> None:
    if name == "torch":
        module.set_num_threads(_threads)
    elif name == "numba":
        module.set_num_threads(min(_threads, module.config.NUMBA_NUM_THREADS))
        if "torch" in sys.modules:  # the first time, numba sets the count of an OpenMP runtime that torch may share
            _tell("torch", sys.modules["torch"])
    elif name == "tessera.compile":
        module.set_threads(_threads)
    elif name == "cv2":
        module.setNumThreads(_threads)
    else:
        # scikit-learn brings threadpoolctl, which reaches OpenBLAS and the OpenMP runtimes of scipy and sklearn.
        with suppress(ImportError):
            import threadpoolctl  # type: ignore[import-untyped]  # ships no types

            threadpoolctl.threadpool_limits(_threads)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds libraries as usual, and sets their thread count when their module is executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _LIBRARIES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                with suppress(AttributeError):  # cv2 imports itself a second time while it is being set up
                    _tell(name, sys.modules.get(name, module))

            loader.exec_module = exec_module  # type: ignore[method-assign]  # this loader serves this one module
        return spec
