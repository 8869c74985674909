"""From a model reference to a network ready to predict, kept between the jobs of one process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from tessera.formats import checkpoints
from tessera.pb.common_pb2 import ModelRef, ObjectRef

if TYPE_CHECKING:
    from tessera.models.predictor import Predictor

_KEPT = 2
_cache: OrderedDict[tuple[str, str, str, int], Predictor] = OrderedDict()


def predictor(model: ModelRef, read: Callable[[ObjectRef], bytes]) -> Predictor:
    """Predictor of ``model``; ``read`` is called only if it is not among the last two.

    A reference with 0 classes is a backbone alone (ImageNet weights): only its ``features`` mean anything.
    BadInput as in `checkpoints.build_model` and `checkpoints.load_backbone`.
    """
    key = (model.weights.sha256, model.architecture.name, model.architecture.parameters, model.classes)
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    from tessera import models
    from tessera.models.predictor import Predictor

    name = f"weights {model.weights.key}"
    if model.classes == 0:
        network = models.build(model.architecture.name, model.architecture.parameters, 2)
        checkpoints.load_backbone(network, read(model.weights), name)
    else:
        network = checkpoints.build_model(model.architecture, model.classes, read(model.weights), name)
    _cache[key] = Predictor(network)
    while len(_cache) > _KEPT:
        _cache.popitem(last=False)
    return _cache[key]
