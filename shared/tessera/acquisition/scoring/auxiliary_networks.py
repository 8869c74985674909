"""Scores by auxiliary networks, in the compute child: a network is built once and run image by image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tessera.acquisition.interfaces import FeatureModel, Float32, RegionImage
from tessera.errors import BadInput
from tessera.models.auxiliary import DiscriminatorParams
from tessera.models.discriminators import FeatureDiscriminator, VectorDiscriminator, batched, cells, normalised


class Labeledness:
    """σ(D) of each region's part of the normalised map."""

    def __init__(self, params: DiscriminatorParams, tensors: Mapping[str, Any]) -> None:
        # A network that classifies whole images has one vector each, and D is then layers instead of convolutions.
        vectors = "layers.0.weight" in tensors
        first = tensors.get("layers.0.weight" if vectors else "convolutions.0.weight")
        channels = first.shape[1] if first is not None and first.ndim in (2, 4) else 1
        self._params = params
        network = VectorDiscriminator(channels) if vectors else FeatureDiscriminator(channels)
        self._network = filled(network, tensors, "discriminator")
        self._channels = channels

    def __call__(self, model: FeatureModel | None, image: RegionImage) -> Float32:
        """See ``interfaces.NetworkScore``; BadInput when the discriminator was made for another network."""
        assert model is not None  # noqa: S101 - the trait needs_model says so
        features = torch.from_numpy(model.taps(image.rgb, (self._params.tap,))[self._params.tap])
        if features.shape[0] != self._channels:
            raise BadInput(
                f"auxiliary discriminator: made for {self._channels} channels, the network has {features.shape[0]}; "
                "train it for this network"
            )
        found = normalised(features, self._params.pool)
        height, width = image.rgb.shape[:2]
        size = (found.shape[1], found.shape[2])
        places = [cells(box, (height, width), size) for box in image.boxes.tolist()]
        with torch.inference_mode():
            return probabilities(batched(self._network, [found[:, rows, columns] for rows, columns in places]))


def filled(network: nn.Module, tensors: Mapping[str, Any], name: str) -> nn.Module:
    """Return the network with ``tensors`` as its weights; BadInput when they are not those of this network."""
    state = {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise BadInput(
            f"auxiliary {name}: the tensors are not those of this network ({first}); train it anew"
        ) from None
    return network.eval()


def probabilities(logits: Tensor) -> Float32:
    """Return σ of logits (n,), float32."""
    return np.asarray(torch.sigmoid(logits).float().numpy(), np.float32)
