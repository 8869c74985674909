"""The prediction of a stored model for one image, computed in a child process like every job of a service.

So a prediction that is slow, huge or crashes costs its own picture, and the pages go on.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from numpy.typing import NDArray

from tessera.errors import BadInput, ChildCrashed, ChildTimedOut, OutOfMemory, TesseraError, Unavailable
from tessera.formats import images
from tessera.formats.blobs import Blobs
from tessera.formats.manifests import ImageItem
from tessera.formats.media import PNG
from tessera.lru import ByteLimitedLRU
from tessera.pb.common_pb2 import ModelRef, ObjectRef
from tessera.runtime.objects import ObjectStore
from tessera.runtime.pool import ComputePool
from tessera.runtime.settings import Settings, load

_log = logging.getLogger(__name__)
MISSING: Final = "Predictions need torch in the dashboard's process: pip install 'tessera-al[model]'."
_KEPT_BYTES: Final = 64 << 20
_MOST_PIXELS: Final = 64_000_000
_MOST_WAITING: Final = 16
_SECONDS: Final = 60.0
_FUNCTION: Final = "services.dashboard.prediction:predict"


_FAILED: Final[dict[type[TesseraError], str]] = {
    ChildTimedOut: f"took over {_SECONDS:g} s and was stopped: image or model are too large for this machine",
    OutOfMemory: "needs more memory than the dashboard may take",
    ChildCrashed: "was interrupted: its process ended",
}


class Predictions:
    """Predictions by model and image; one is computed at a time, in one child that is started for the first."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._pool: ComputePool | None = None
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._kept: ByteLimitedLRU[tuple[str, str], NDArray[np.uint8]] = ByteLimitedLRU(
            _KEPT_BYTES, lambda found: found.nbytes
        )

    async def of(self, model: ModelRef, item: ImageItem, store: ObjectStore, classes: int) -> NDArray[np.uint8]:
        """Return the class of every pixel, uint8 (H, W); ``classes`` are those of the data set.

        BadInput for an image of more than 64 megapixels; Unavailable where too many wait, and, in words for whoever
        looks at the page, where the child took over 60 s, ran out of memory or ended.
        """
        key = (model.weights.sha256, item.image.sha256)
        if (kept := self._kept.get(key)) is not None:
            return kept
        if item.width * item.height > _MOST_PIXELS:
            raise BadInput(f"image {item.image_id}: {item.width}×{item.height} is too large for a prediction on a page")
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("predictions: too many are asked for; reload the page in a moment")
        self._waiting += 1
        try:
            async with self._lock:
                found = self._kept.get(key)
                if found is None:
                    found = await self._computed(model, item.image, store, classes)
                    self._kept.put(key, found)
        finally:
            self._waiting -= 1
        return found

    async def close(self) -> None:
        """End the child."""
        if self._pool is not None:
            await self._pool.close()

    async def _computed(self, model: ModelRef, image: ObjectRef, store: ObjectStore, classes: int) -> NDArray[np.uint8]:
        if self._pool is None:
            self._pool = ComputePool(1, self._settings or load())
        request = Struct()
        request.update({"model": json_format.MessageToDict(model), "image": json_format.MessageToDict(image)})
        request.update({"classes": classes})
        with TemporaryDirectory(prefix="tessera-prediction-") as folder:
            paths: dict[str, Path] = {}
            for ref in (model.weights, image):
                paths[ref.sha256] = Path(folder) / ref.sha256
                await asyncio.to_thread(paths[ref.sha256].write_bytes, await store.get(ref))
            try:
                result = await self._pool.run(_FUNCTION, request, ObjectRef, paths, threads=1, timeout=_SECONDS)
            except (ChildTimedOut, OutOfMemory, ChildCrashed) as error:
                _log.warning("a prediction failed", extra={"error": str(error)})
                raise Unavailable(f"The prediction {_FAILED[type(error)]}.") from None
            try:
                content = await asyncio.to_thread(result.blobs[0].path.read_bytes)
            finally:
                result.discard()
        return await asyncio.to_thread(images.decode_labels, content, "prediction")


def available() -> bool:
    """Return whether this process can predict."""
    return importlib.util.find_spec("torch") is not None


def predict(request: Struct, blobs: Blobs) -> ObjectRef:
    """Write the class of every pixel as PNG; in the child."""
    from tessera.formats import predictors
    from tessera.models.upsample import predict as upsampled

    asked = json_format.MessageToDict(request)
    model = json_format.ParseDict(asked["model"], ModelRef())
    rgb = images.decode_rgb(blobs.read(json_format.ParseDict(asked["image"], ObjectRef())), "image")
    # A further output is the class undefined, which is never predicted.
    logits = predictors.predictor(model, blobs.read).logits(rgb)[: int(asked["classes"])]
    classes = np.asarray(upsampled(logits, (rgb.shape[0], rgb.shape[1])), np.uint8)
    return blobs.write(images.encode_png(classes), PNG)
