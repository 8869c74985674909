"""Networks whose calls torch compiles (`torch.compile`): fewer and larger kernels on CUDA, other rounding.

Only calls are compiled. Weights, their names, checkpoints and copies are those of the plain network, so that a training
may go on without. Predictors copy a network, and copies are not compiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from tessera.errors import BadInput

if TYPE_CHECKING:
    from tessera.models.network import SegmentationNetwork

BACKEND = "inductor"


def compile_calls(model: SegmentationNetwork, device: torch.device) -> None:
    """Have torch compile the calls of backbone and head, when they are first made; BadInput without a compiler."""
    _check_compiler(device)
    from torch._inductor import config

    config.compile_threads = 1  # others would be processes that outlive this one
    model.backbone.compile(backend=BACKEND)
    model.head.compile(backend=BACKEND)


@contextmanager
def compile_errors() -> Iterator[None]:
    """Turn what the compiler raises within the block into a BadInput that names the field."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(
            f"training.compile: torch cannot compile this network here ({first[:200]}); set training.compile to false"
        ) from error


def _check_compiler(device: torch.device) -> None:
    """Raise BadInput where the machine lacks what torch compiles with: Triton for CUDA, and a C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise BadInput(
            "training.compile: this machine has no C++ compiler, which torch.compile needs; install g++ or clang++ "
            "where trainers run (CXX names another), or set training.compile to false"
        ) from None
    if device.type == "cuda" and not has_triton():
        raise BadInput(
            "training.compile: Triton is not installed, with which torch.compile makes kernels for CUDA; install it "
            "where trainers run, or set training.compile to false"
        )
