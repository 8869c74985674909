"""The two phases of MulActSeg."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from tessera.models.network import SegmentationNetwork
from tessera.models.predictor import Predictor
from tessera.training.artefacts import Artefact, Planes
from tessera.training.methods.mulactseg.losses import log_probabilities, of_all_processes, partial_losses
from tessera.training.methods.mulactseg.params import MulActSeg, PseudoLabels
from tessera.training.methods.mulactseg.pseudo import Answers, Labels, pseudo_labels
from tessera.training.methods.mulactseg.regions import RegionSet
from tessera.training.methods.supervised.phase import (
    NetworkPhase,
    SupervisedPhase,
    image_dtype,
    precision,
)
from tessera.training.phase import Iteration, Setup, Update
from tessera.training.samples import PartialSample, Sample


class PartialPhase(NetworkPhase):
    """Stage 1: L = λ_CE L_CE + λ_MP L_MP + L_PP (Eq. 10). Its network acquires."""

    def __init__(self, params: MulActSeg, setup: Setup) -> None:
        self.regions = RegionSet(setup.data.partial, setup.device, image_dtype(params, setup))
        super().__init__(params, setup, self.regions)
        self.partial = params
        if params.pseudo is not None:
            self.serves = {"acquisition": "model"}

    def step(self, at: Iteration) -> Iterator[Update]:
        """Yield the update by the losses of the batch's labelled pixels; none where it shows none."""
        index, flip, changes = self.batches(at)["samples"]
        answered = self.regions.answered(index, flip, changes)
        if self.params.decode == "labelled":
            if not len(answered.places):
                return
            log_p = self.inputs.logits_at(index, flip, answered.places, answered.size, changes).log_softmax(1)
        else:
            logits = self.inputs.logits(index, flip, changes)
            log_p = log_probabilities(logits, answered.size, answered.places)
        found, counts = partial_losses(log_p, answered.region, answered.classes, answered.shown, self.partial)
        losses = of_all_processes(found, counts, log_p, self.partial, self.setup.group)
        if losses:
            # A part that this process has nothing for averages nothing here.
            yield Update("model", losses, len(answered.places), counts=dict.fromkeys(losses, 0) | counts)


class PseudoPhase(SupervisedPhase):
    """Stage 2: cross entropy of a fresh network on the pseudo labels that ``model`` makes. Its network is evaluated."""

    def __init__(self, params: MulActSeg, pseudo: PseudoLabels, setup: Setup, model: SegmentationNetwork) -> None:
        self.labelled = _labelled(params, pseudo, setup, model)
        super().__init__(params.model_copy(update=params.second()), setup, self.labelled)
        self.serves = {"reported": "model"}

    def artefacts(self) -> Mapping[str, Artefact]:
        """Return ``pseudo_labels``: the labels of every image with an answer, and where each comes from."""
        return {"pseudo_labels": Planes((one.image_id, one.planes()) for one in self.labelled)}


class PseudoSample(Sample):
    """A sample whose labels are kept compressed, because those of a large pool would not fit in memory."""

    def __init__(self, source: PartialSample, packed: tuple[bytes, ...]) -> None:
        object.__setattr__(self, "image", source.image)
        object.__setattr__(self, "image_id", source.image_id)
        object.__setattr__(self, "_packed", packed)

    _packed: tuple[bytes, ...]

    def planes(self) -> dict[str, NDArray[np.uint8]]:
        """Return maps (H, W) by name: ``classes`` and ``provenance``."""
        shape = self.image.shape[:2]
        unpacked = [np.frombuffer(zlib.decompress(plane), np.uint8).reshape(shape) for plane in self._packed]
        return dict(zip(Labels._fields, unpacked, strict=True))

    @property
    def target(self) -> NDArray[np.uint8]:
        """Return the pseudo labels, 255 where there is none."""
        return self.planes()["classes"]


def _labelled(params: MulActSeg, pseudo: PseudoLabels, setup: Setup, model: SegmentationNetwork) -> list[PseudoSample]:
    """Return pseudo labels of every image with an answer, by the network of stage 1.

    Each process labels its part of the images, and all train on the labels of all.
    """
    predictor = Predictor(model, setup.device, precision(params, setup.device))
    temperature = float(getattr(model.head.classifier, "temperature", 1.0))
    scale = temperature / (pseudo.temperature or temperature)
    own = setup.group.part(len(setup.data.partial))
    made: list[bytes] = []
    for number in range(own.start, own.stop):
        sample = setup.data.partial[number]
        taps = predictor.taps(np.asarray(sample.image), ("decoder", "logits"))
        answers = Answers(np.asarray(sample.regions), sample.asked, sample.classes)
        labels = pseudo_labels(taps["decoder"], taps["logits"], answers, pseudo, scale)
        made += [zlib.compress(plane.tobytes(), 1) for plane in labels]
        setup.progress(0.5, f"pseudo labels, image {number + 1}/{own.stop}")
    packed = iter(setup.group.gather_bytes(made))
    return [PseudoSample(sample, (next(packed), next(packed))) for sample in setup.data.partial]
