"""A training's state as safetensors, from which another process goes on; nothing is pickled.

Tensors and arrays are the file's tensors; the structure around them is JSON in its metadata. Shared objects are shared
again after reading: roles of one network keep sharing its weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tessera.errors import BadInput
from tessera.formats import weights
from tessera.training.artefacts import Planes, Tensors
from tessera.training.history import Epoch, Part

if TYPE_CHECKING:
    from tessera.formats.blobs import Blobs
    from tessera.training.state import LoopState

_FORMAT = "tessera-training-1"


def save(state: LoopState) -> bytes:
    """Encode a state; BadInput where a weight is NaN or infinite."""
    writer = _Writer()
    tree = writer.node(state)
    return weights.save(writer.arrays, {"format": _FORMAT, "state": json.dumps(tree)})


def load(data: bytes, name: str) -> LoopState:
    """Decode what `save` encoded; ``name`` is what errors call it. BadInput: anything else."""
    from tessera.training.state import LoopState

    metadata = weights.metadata(data, name)
    if metadata.get("format") != _FORMAT:
        raise BadInput(f"{name}: not a training's state of this version; train from the start")
    try:
        state = _Reader(weights.load(data, name)).value(json.loads(metadata["state"]))
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise BadInput(f"{name}: not a readable state ({error}); train from the start") from None
    if not isinstance(state, LoopState):
        raise BadInput(f"{name}: holds no training's state; train from the start")
    return state


def earlier(blobs: Blobs) -> LoopState | None:
    """Return the state that an earlier attempt at this job kept; None, with a logged reason, where it is unusable."""
    data = blobs.earlier()
    if data is None:
        return None
    try:
        state = load(data, "checkpoint")
    except BadInput as error:
        blobs.progress(0.0, str(error))
        return None
    blobs.progress(0.0, f"going on after epoch {len(state.history)}, which an earlier attempt reached")
    return state


class _Writer:
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self._names: dict[int, str] = {}
        self._dicts: dict[int, int] = {}
        self._held: list[object] = []  # keeps the object alive, so that its id stays unique

    def node(self, value: Any) -> Any:
        """Numbers, texts and None stand for themselves; a list says by its first entry what it is."""
        import torch

        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray):
            return ["array", self._array(value, lambda: value)]
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Mapping):
            if id(value) in self._dicts:
                return ["same", self._dicts[id(value)]]
            self._held.append(value)
            self._dicts[id(value)] = len(self._dicts)
            return ["dict", [[self.node(key), self.node(one)] for key, one in value.items()]]
        if isinstance(value, Planes):
            return ["Planes", [["images", self.node(list(value.images))]]]
        if is_dataclass(value) and type(value).__name__ in _classes():
            return [type(value).__name__, [[one.name, self.node(getattr(value, one.name))] for one in fields(value)]]
        if isinstance(value, list | tuple):
            return ["list" if isinstance(value, list) else "tuple", *[self.node(one) for one in value]]
        raise TypeError(f"a training's state holds a {type(value).__name__}; state_dict may hold arrays and numbers")

    def _tensor(self, value: Any) -> Any:
        """Return values and strides: optimisers walk memory in order, so the order of weights must be restored."""
        import torch

        plain = value.detach().cpu()
        kind = str(value.dtype).removeprefix("torch.")
        if plain.dtype == torch.bfloat16:
            plain = plain.view(torch.int16)
        name = self._array(value, lambda: plain.contiguous().numpy())
        return ["tensor", name, kind, list(value.stride())]

    def _array(self, owner: object, make: Callable[[], np.ndarray[Any, Any]]) -> str:
        if id(owner) not in self._names:
            self._held.append(owner)
            self._names[id(owner)] = name = f"{len(self.arrays):06d}"
            self.arrays[name] = make()
        return self._names[id(owner)]


class _Reader:
    def __init__(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self._arrays = arrays
        self._made: dict[str, Any] = {}
        self._dicts: list[dict[Any, Any]] = []

    def value(self, node: Any) -> Any:
        if not isinstance(node, list):
            return node
        kind, *rest = node
        if kind == "array":
            return self._once(rest[0], lambda: self._arrays[rest[0]].copy())
        if kind == "tensor":
            return self._once(rest[0], lambda: self._tensor(*rest))
        if kind == "same":
            return self._dicts[rest[0]]
        if kind == "dict":
            made: dict[Any, Any] = {}
            self._dicts.append(made)
            made.update((self.value(key), self.value(one)) for key, one in rest[0])
            return made
        if kind in ("list", "tuple"):
            items = [self.value(one) for one in rest]
            return items if kind == "list" else tuple(items)
        return _classes()[kind](**{key: self.value(one) for key, one in rest[0]})

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _tensor(self, name: str, kind: str, strides: list[int]) -> Any:
        import torch

        values = torch.from_numpy(self._arrays[name].copy())
        if kind == "bfloat16":
            values = values.view(torch.bfloat16)
        if tuple(strides) == values.stride():
            return values
        return torch.empty_strided(values.shape, strides, dtype=values.dtype).copy_(values)


def _classes() -> dict[str, Any]:
    from tessera.training.state import LoopState

    return {one.__name__: one for one in (LoopState, Epoch, Part, Tensors, Planes)}
