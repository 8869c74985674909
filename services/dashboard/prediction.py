"""The prediction of a stored model for one image, where this process has torch."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tessera.formats import images
from tessera.lru import ByteLimitedLRU
from tessera.pb.common_pb2 import ModelRef, ObjectRef
from tessera.runtime.objects import ObjectStore

MISSING: Final = "Predictions need torch in the dashboard's process: pip install 'tessera-al[model]'."
_KEPT_BYTES: Final = 64 << 20


class Predictions:
    """Predictions by model and image; one is computed at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._kept: ByteLimitedLRU[tuple[str, str], NDArray[np.uint8]] = ByteLimitedLRU(
            _KEPT_BYTES, lambda found: found.nbytes
        )

    async def of(self, model: ModelRef, image: ObjectRef, store: ObjectStore, classes: int) -> NDArray[np.uint8]:
        """Return the class of every pixel, uint8 (H, W); ``classes`` are those of the data set."""
        key = (model.weights.sha256, image.sha256)
        async with self._lock:
            found = self._kept.get(key)
            if found is None:
                weights, content = await store.get(model.weights), await store.get(image)
                found = await asyncio.to_thread(_predict, model, weights, content, classes)
                self._kept.put(key, found)
        return found


def available() -> bool:
    """Return whether this process can predict."""
    return importlib.util.find_spec("torch") is not None


def _predict(model: ModelRef, weights: bytes, content: bytes, classes: int) -> NDArray[np.uint8]:
    from tessera.formats import predictors
    from tessera.models.upsample import predict

    rgb = images.decode_rgb(content, "image")
    network = predictors.predictor(model, lambda _: weights)
    # A further output is the class undefined, which is never predicted.
    logits = network.logits(rgb)[:classes]
    return np.asarray(predict(logits, (rgb.shape[0], rgb.shape[1])), np.uint8)
