"""Predictors of stored models, kept between the jobs of one process."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from tessera.between_jobs import between_jobs
from tessera.formats import checkpoints
from tessera.lru import ByteLimitedLRU, CountLimitedLRU
from tessera.pb.common_pb2 import ModelRef, ObjectRef

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from tessera.models.predictor import Predictor

_KEPT = 2
MAP_BYTES = 768 << 20
"""Most memory of a process for backbone maps of images that it may read again."""
_cache: CountLimitedLRU[tuple[str, str, str, int], Predictor] = between_jobs.keep("predictors", CountLimitedLRU(_KEPT))


def predictor(model: ModelRef, read: Callable[[ObjectRef], bytes]) -> Predictor:
    """Return the predictor of ``model``; ``read`` is called only if it is not among the last two.

    A reference with 0 classes is a backbone alone (ImageNet weights): use its ``features`` only. BadInput as in
    `checkpoints.build_model` and `checkpoints.load_backbone`.
    """
    key = (model.weights.sha256, model.architecture.name, model.architecture.parameters, model.classes)
    kept = _cache.get(key)
    if kept is not None:
        return kept
    from tessera import models
    from tessera.models.predictor import Predictor

    name = f"weights {model.weights.key}"
    if model.classes == 0:
        network = models.build(model.architecture.name, model.architecture.parameters, 2)
        checkpoints.load_backbone(network, read(model.weights), name)
    else:
        network = checkpoints.build_model(model.architecture, model.classes, read(model.weights), name)
    made = Predictor(network)
    _cache.put(key, made)
    return made


class BackboneMaps:
    """Backbone maps by image, for one frozen backbone under changing heads.

    The first backbone counts as frozen. When another one follows, as in fine-tuning, nothing is kept until a second
    network has the same backbone. At most ``limit`` bytes, the least recently used are dropped first. Maps equal those
    that the network computes: logits do not depend on the cache.
    """

    def __init__(self, limit: int = MAP_BYTES) -> None:
        self._maps: ByteLimitedLRU[str, tuple[Tensor, Tensor]] = ByteLimitedLRU(limit, _size)
        self._backbone = ""
        self._first: weakref.ref[Predictor] | None = None
        self._changes = False

    def of(
        self, predictor: Predictor, image: ObjectRef, rgb: NDArray[np.uint8], mirrored: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return low and high maps of an image, decoded as ``rgb`` (H, W, 3) uint8, or of its mirror image."""
        if self._first is None or predictor.backbone_digest != self._backbone:
            self._changes = self._first is not None
            self._backbone, self._first = predictor.backbone_digest, weakref.ref(predictor)
            self._maps.clear()
        key = f"{image.sha256} mirrored" if mirrored else image.sha256
        maps = self._maps.get(key)
        if maps is None:
            maps = predictor.image_maps(rgb[:, ::-1] if mirrored else rgb)
            # A dead reference means that the first network is no longer in use.
            if not self._changes or self._first() is not predictor:
                self._maps.put(key, maps)
        return maps

    def logits(self, predictor: Predictor, image: ObjectRef, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits (C, h, w) float32 of an image, decoded as ``rgb`` (H, W, 3) uint8."""
        return predictor.logits_of(*self.of(predictor, image, rgb))

    def clear(self) -> None:
        """Forget all maps."""
        self._maps.clear()


def _size(maps: tuple[Tensor, Tensor]) -> int:
    return sum(one.numel() * one.element_size() for one in maps)


_backbone_maps = between_jobs.keep("backbone maps", BackboneMaps())


def logits(predictor: Predictor, image: ObjectRef, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits (C, h, w) float32 of an image, with maps from this process's `BackboneMaps`."""
    return _backbone_maps.logits(predictor, image, rgb)


def maps(
    predictor: Predictor, image: ObjectRef, rgb: NDArray[np.uint8], mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """Return low and high backbone maps of an image or of its mirror image, from this process's `BackboneMaps`."""
    return _backbone_maps.of(predictor, image, rgb, mirrored)


class ImageModel:
    """A predictor for the features of one stored image: whole-image maps come from `BackboneMaps`.

    ``rgb`` is the decoded image; crops of it go to ``maps``.
    """

    def __init__(self, predictor: Predictor, image: ObjectRef) -> None:
        self._predictor, self._image = predictor, image
        self.maps, self.widened = predictor.maps, predictor.widened

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map (H, W, 3) uint8 → the deepest backbone map (high_channels, h, w) float32."""
        return self.taps(rgb, ("backbone",))["backbone"]

    def taps(self, rgb: NDArray[np.uint8], names: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """Map (H, W, 3) uint8 → maps (D, h, w) float32 by name, as `Predictor.taps`."""
        return self._predictor.taps_of(*maps(self._predictor, self._image, rgb), names)
