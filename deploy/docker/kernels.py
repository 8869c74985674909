"""Compile the selector's kernels into a Python extension, so that its image carries neither numba nor LLVM.

``kernels.py FOLDER [CPU]`` writes FOLDER/tessera_kernels. It calls every function of clustering that a stage of
selection calls, with the types that stages have. What numba compiled for these calls is compiled once more, by numba's
compiler of modules, with the settings of `tessera.compile.kernel`. Needs numba, setuptools and g++.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.compiler import Flags
from numba.core.dispatcher import Dispatcher
from numba.core.types import Array, BaseTuple, Literal
from numba.pycc import compiler
from numba.pycc.cc import CC

from tessera.acquisition import clustering, neighbours
from tessera.acquisition.clustering import d2_sampling, k_center, kmeans
from tessera.compile import COMPILED, source_sha256


def call_everything() -> None:
    """Call what stages call, in few and many dimensions, with arrays of the types that they have."""
    rng = np.random.default_rng(0)
    for dimension in (2, 3, 40):
        points = rng.normal(size=(400, dimension))
        seeds = kmeans.seed(points, 9, rng)
        _, labels = kmeans.lloyd(points, points[seeds], 3)
        kmeans.assign(points, points[seeds])
        kmeans.best_per_cluster(labels, rng.random(len(points)), 9)
        x = points.astype(np.float32)
        d2_sampling.d2_sample(x, 9, rng)
        k_center.greedy(x, x[:0], 9, 0)
        k_center.greedy(x[3:], x[:3], 300)
    # So many that parts go to threads, one by one.
    many = rng.normal(size=(600, 2))
    kmeans.lloyd(many, many[:520], 1)
    # So many draws that distances are lowered by products.
    spread = rng.normal(size=(3000, 40)).astype(np.float32)
    d2_sampling.d2_sample(spread, 1500, rng)


def kernels() -> dict[str, Dispatcher]:
    """Return the kernels of the packages of which selection uses any, by full name."""
    found = {}
    for package in (clustering, neighbours):
        for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(entry.name)).values():
                if isinstance(value, Dispatcher):
                    found[f"{value.py_func.__module__}.{value.py_func.__name__}"] = value
    return dict(sorted(found.items()))


def spelled(kind: Any) -> str:
    """Return a numba type as `tessera.compile.types_of` spells it."""
    if isinstance(kind, Array):
        if kind.layout != "C":
            raise ValueError(f"{kind}: tessera.compile takes contiguous arrays alone")
        return f"{np.dtype(str(kind.dtype)).str}:{kind.ndim}"
    if isinstance(kind, BaseTuple):
        return f"({','.join(map(spelled, kind))})"
    return str(kind)


def forms() -> dict[str, dict[str, Any]]:
    """Return the signatures that each kernel was called with, by their spelling."""
    found: dict[str, dict[str, Any]] = {}
    for name, one in kernels().items():
        for signature in one.nopython_signatures:
            if not any(isinstance(kind, Literal) for kind in signature.args):
                found.setdefault(name, {})[",".join(map(spelled, signature.args))] = signature
    return found


def compile_all(folder: Path, cpu: str) -> None:
    """Write the package."""
    call_everything()
    folder.mkdir(parents=True, exist_ok=True)
    made = CC("_compiled")
    made.target_cpu = cpu
    table: dict[str, dict[str, str]] = {}
    for name, signatures in forms().items():
        for types, signature in signatures.items():
            symbol = f"kernel_{sum(map(len, table.values()))}"
            made.export(symbol, signature)(kernels()[name].py_func)
            table.setdefault(name, {})[types] = symbol
    # As tessera.compile.kernel says to numba.
    compiler.Flags = _flags
    build(made, folder / f"_compiled{sysconfig.get_config_var('EXT_SUFFIX')}")
    modules = sorted({name.rpartition(".")[0] for name in table})
    lines = [f'"""Kernels of Tessera, compiled by numba {numba.__version__} for {cpu or "any processor"}."""', ""]
    lines += [f"from {COMPILED} import _compiled", "", "FORMS = {"]
    for name, symbols in table.items():
        lines.append(f"    {name!r}: {{")
        lines += [f"        {types!r}: _compiled.{symbol}," for types, symbol in symbols.items()]
        lines.append("    },")
    lines += ["}", "SOURCES = {"]
    lines += [f"    {module!r}: {source_sha256(module)!r}," for module in modules]
    (folder / "__init__.py").write_text("\n".join([*lines, "}", ""]))


def _flags() -> Flags:
    flags = Flags()
    flags.error_model = "numpy"
    flags.release_gil = True
    return flags


def build(made: CC, library: Path) -> None:
    """Compile and link, without setuptools, whose options are those of the build of Python."""
    with tempfile.TemporaryDirectory() as scratch:
        objects, _ = made._compile_object_files(scratch)
        macros = [f"-D{name}={value}" for name, value in made._get_mixin_defines()]
        includes = [f"-I{path}" for path in (sysconfig.get_path("include"), np.get_include())]
        for number, source in enumerate(made._get_mixin_sources()):
            objects.append(f"{scratch}/{number}.o")
            language = "c++" if source.endswith(".cpp") else "c"
            options = ["-x", language, "-O2", "-fPIC", "-w", *macros, *includes]
            subprocess.run(["g++", *options, "-c", source, "-o", objects[-1]], check=True)
        linked = ["g++", "-shared", "-s", "-static-libstdc++", "-static-libgcc", *objects, "-o", str(library)]
        subprocess.run(linked, check=True)


if __name__ == "__main__":
    compile_all(Path(sys.argv[1]) / COMPILED, sys.argv[2] if len(sys.argv) > 2 else "")
