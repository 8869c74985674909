"""Forward passes for scoring and evaluation: one image at a time, so that no result depends on its neighbours."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.models.folding import fold_batch_norm
from tessera.models.mobilenetv2 import backbone_input
from tessera.models.network import SegmentationNetwork, channels_last
from tessera.models.precision import fast_dtype


class Predictor:
    """A network ready to predict: batch norm folded, channels-last, bfloat16 where the processor multiplies it.

    ``dtype`` None picks the fastest of the device; ``.dtype`` tells which. The classifier stays float32, because logits
    in bfloat16 have eight bits. Deterministic for a given device, dtype and thread count.
    """

    def __init__(
        self, model: SegmentationNetwork, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
    ) -> None:
        self.device = torch.device(device)
        self.dtype = fast_dtype(self.device) if dtype is None else dtype
        self.backbone_digest = _digest(model.backbone)
        """SHA-256 of the backbone's tensors: networks that share a frozen backbone share it."""
        network = fold_batch_norm(model)
        network.backbone.to(self.device, self.dtype)
        for name, child in network.head.named_children():
            child.to(self.device, torch.float32 if name == "classifier" else self.dtype)
        self._network = channels_last(network)

    def logits(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map (H, W, 3) uint8 → (C, h, w) float32 logits at stride 4."""
        return self.logits_of(*self.image_maps(rgb))

    def image_maps(self, rgb: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (H, W, 3) uint8 → low and high backbone maps (1, D, h, w), in the predictor's dtype, on its device."""
        with torch.inference_mode():
            low, high = self._network.features(self._input(rgb))
            return low, high

    def logits_of(self, low: torch.Tensor, high: torch.Tensor) -> NDArray[np.float32]:
        """Map one image's maps from `image_maps` → (C, h, w) float32 logits at stride 4."""
        return np.ascontiguousarray(self.head_logits(low, high)[0].cpu().numpy())

    def mc_logits_of(self, low: torch.Tensor, high: torch.Tensor, seeds: Sequence[int]) -> list[NDArray[np.float32]]:
        """Yield (C, h, w) float32 logits at stride 4 of one MC-dropout pass per seed, from the maps of `image_maps`.

        BadInput for a network without MC dropout.
        """
        head = self._network.head
        if head.mc_dropout is None:
            raise BadInput("model: the network has no MC dropout; set model.mc_dropout: 0.1 and train it anew")
        with torch.inference_mode():
            passes = head.mc_logits(low.to(self.device, self.dtype), high.to(self.device, self.dtype), seeds)
            return [np.ascontiguousarray(logits[0].float().cpu().numpy()) for logits in passes]

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map (H, W, 3) uint8 → the deepest backbone map (high_channels, h, w) float32."""
        with torch.inference_mode():
            _, high = self._network.features(self._input(rgb))
            return _array(high[0])

    def taps(self, rgb: NDArray[np.uint8], names: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """Map (H, W, 3) uint8 → maps (D, h, w) float32 by name: ``backbone``, ``widened`` (1280 channels) or of
        ``TAPS``.

        BadInput for a name whose map this network lacks.
        """
        return self.taps_of(*self.image_maps(rgb), names)

    def taps_of(self, low: torch.Tensor, high: torch.Tensor, names: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """Map one image's maps from `image_maps` → maps by name, as `taps`."""
        inner = [name for name in names if name not in ("backbone", "widened")]
        with torch.inference_mode():
            found = {"backbone": high, **(self._network.head.taps(low, high, inner) if inner else {})}
            if "widened" in names:
                found["widened"] = self.widened(high)
        missing = [name for name in names if name not in found]
        if missing:
            remedy = "set model.projection_head and train it anew" if missing[0] == "projection" else "ask for another"
            raise BadInput(f"model: this network has no {missing[0]} map; {remedy}")
        return {name: _array(found[name][0]) for name in names}

    def widened(self, high: torch.Tensor) -> torch.Tensor:
        """Map (N, 320, h, w) of `maps` → (N, 1280, h, w) by ImageNet's last convolution; BadInput without it."""
        with torch.inference_mode():
            wide = self._network.widen(high.to(self.device, self.dtype))
        if wide is None:
            raise BadInput("model: the network does not carry ImageNet's last layer; set model.last_convolution: true")
        return wide

    def maps(self, rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (N, H, W, 3) uint8 → low and high backbone maps of a batch, in the predictor's dtype."""
        with torch.inference_mode():
            low, high = self._network.features(backbone_input(rgb.to(self.device), self.dtype))
            return low, high

    def head_logits(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """Map backbone maps of a batch, in any float dtype → (N, C, h, w) float32 logits at stride 4."""
        with torch.inference_mode():
            out: torch.Tensor = self._network.head(low.to(self.device, self.dtype), high.to(self.device, self.dtype))
            return out.float()

    def _input(self, rgb: NDArray[np.uint8]) -> torch.Tensor:
        return backbone_input(torch.from_numpy(np.ascontiguousarray(rgb))[None].to(self.device), self.dtype)


def _array(feature_map: torch.Tensor) -> NDArray[np.float32]:
    """Return (D, h, w) float32, channels last in memory where the network left them so: pooling reads that fastest."""
    return np.asarray(feature_map.float().cpu().numpy(), np.float32)


def _digest(backbone: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
