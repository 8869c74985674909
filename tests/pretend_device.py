"""A device that this machine lacks: its numbers live on the CPU, and what a GPU would refuse is refused.

A CPU build of torch knows ``cuda`` by name alone, so the device has torch's name for one that Python adds. Every tensor
made on it, or moved to it, is an `OnDevice`, which holds a CPU tensor. An operator that takes one together with a CPU
tensor raises `DeviceMixed`, but where CUDA allows it too: numbers (no axes), index tensors on the CPU, and copies from
one device to the other. Kernels run on the CPU tensors, so that losses, and branches that depend on values, are real.
It shows forgotten moves; it shows nothing about CUDA's kernels.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration as backend
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = "pretended:0"
_COPIES = ("copy_", "_to_copy", "_foreach_copy_")
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")


_PINS = {"pin_memory": torch.clone, "_pin_memory": torch.clone, "is_pinned": lambda _: False}


class DeviceMixed(RuntimeError):
    """An operator got tensors of both devices."""


class OnDevice(Tensor):
    """A tensor that lies on ``cuda:0``, as far as anybody can see; ``held`` is its CPU tensor."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
            requires_grad=False,
        )
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"OnDevice({self.held!r})"

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Module(backend._DummyBackendModule):
    """What torch asks of the module of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class _Mode(TorchDispatchMode):
    """Sees every operator, also those that make tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.ran = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ran += 1
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator on the tensors that its arguments hold, and lay its results on the device that they belong to."""
    name = func.overloadpacket.__name__
    if name in _PINS:
        return _PINS[name](args[0])
    leaves = _tensors((args, kwargs))
    there = any(isinstance(one, OnDevice) for one in leaves)
    if there:
        _check(func, name, args, leaves)
    device = kwargs.get("device")
    if device is not None:
        there = torch.device(device).type == torch.device(DEVICE).type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    owners = {id(one.held): one for one in leaves if isinstance(one, OnDevice)}
    held_args, held_kwargs = tree_map(lambda one: one.held if isinstance(one, OnDevice) else one, (args, kwargs))
    made = func(*held_args, **held_kwargs)
    if name == "copy_":
        return args[0]  # it stays where it is, wherever the numbers came from

    def placed(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        # A tensor that was written in place is the one that was given.
        return owners[id(one)] if id(one) in owners else OnDevice(one) if there else one

    return tree_map(placed, made)


def _check(func: Any, name: str, args: Any, leaves: list[Tensor]) -> None:
    """Raise DeviceMixed where CUDA would refuse the operator's tensors."""
    if name in _COPIES:
        return
    checked = leaves if name not in _INDEXED else [args[0], *_tensors(args[2:])]
    if any(not isinstance(one, OnDevice) and one.dim() > 0 for one in checked):
        raise DeviceMixed(f"{func}: tensors of two devices, {[(tuple(one.shape), str(one.device)) for one in leaves]}")


def _tensors(tree: Any) -> list[Tensor]:
    return [one for one in tree_flatten(tree)[0] if isinstance(one, Tensor)]


def pretend() -> _Mode:
    """Make ``DEVICE`` known to torch, for the rest of the process, and return the mode in which it works."""
    plain = torch.tensor

    def tensor(data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        """As ``torch.tensor``, which makes numbers on their device where no mode can see it."""
        return plain(data, **kwargs) if device is None else plain(data, **kwargs).to(device)

    torch.tensor = tensor
    # Inference mode refuses views of such a tensor.
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode else contextlib.nullcontext()
    backend._setup_privateuseone_for_python_backend("pretended", _Module())
    return _Mode()
