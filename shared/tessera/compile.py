"""How kernels are compiled: by numba when they are called first, or beforehand, for an image that carries no compiler.

Imported only by modules that run in a compute child.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from tessera.errors import TesseraError

try:
    import numba
except ModuleNotFoundError:  # in an image whose kernels deploy/docker/kernels.py has compiled
    numba = None  # type: ignore[assignment]

F = TypeVar("F", bound=Callable[..., Any])

COMPILED = "tessera_kernels"
"""The package that `deploy/docker/kernels.py` writes: ``FORMS``, by kernel and argument types, and ``SOURCES``."""

_threads = 1


def kernel(function: F) -> F:
    """Compile for float-exact, GIL-free use, cached on disk; without numba, find the form that was compiled beforehand.

    No fastmath: sums keep their order, so a result is the same on any number of strips, shards and processes, and for
    any processor. A kernel and the kernels it calls stay in one file, because numba's cache notices changes of the
    kernel's own file only.
    """
    if numba is None:
        return cast(F, functools.update_wrapper(_Compiled(function), function))
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def threads() -> int:
    """Return the number of kernels that a job may run at the same time."""
    return int(numba.get_num_threads()) if numba is not None else _threads


def set_threads(count: int) -> None:
    """Set what `threads` returns where numba does not say it."""
    global _threads
    _threads = count


def types_of(arguments: tuple[Any, ...]) -> str:
    """Return the types of a kernel's arguments as text: arrays as dtype and dimensions, tuples in parentheses.

    TesseraError where an array is not contiguous: no kernel is compiled beforehand for such arrays.
    """
    return ",".join(map(_type_of, arguments))


def _type_of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            raise TesseraError(f"array of shape {value.shape}: is not contiguous; pass np.ascontiguousarray of it")
        return f"{value.dtype.str}:{value.ndim}"
    if isinstance(value, tuple):
        return f"({types_of(value)})"
    return np.asarray(value).dtype.name


def source_sha256(module: str) -> str:
    """Return the hash of a module's source file, by which kernels that were compiled from another one are noticed."""
    path = importlib.import_module(module).__file__
    return hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()


class _Compiled:
    """A kernel that was compiled beforehand."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._module, self._name = function.__module__, function.__name__

    def __call__(self, *arguments: Any) -> Any:
        form = self._forms.get(types_of(arguments))
        if form is None:
            known = ", ".join(f"({types})" for types in self._forms) or "none"
            raise TesseraError(
                f"kernel {self._module}.{self._name}: is not compiled for ({types_of(arguments)}), only for {known}; "
                "install numba, or add a call to deploy/docker/kernels.py and build the image again"
            )
        return form(*arguments)

    @functools.cached_property
    def _forms(self) -> dict[str, Callable[..., Any]]:
        try:
            compiled = importlib.import_module(COMPILED)
        except ModuleNotFoundError as error:
            raise TesseraError(f"kernel {self._module}.{self._name}: numba is not installed; install it") from error
        if compiled.SOURCES.get(self._module) != source_sha256(self._module):
            raise TesseraError(
                f"kernel {self._module}.{self._name}: was compiled from another source; build the image again"
            )
        return cast("dict[str, Callable[..., Any]]", compiled.FORMS.get(f"{self._module}.{self._name}", {}))
