"""Classification of whole images: a backbone's map averaged to one vector, and a classifier of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from torch import Tensor, nn

from tessera.models.classifiers import pixel_classifier
from tessera.models.dropout import Dropout
from tessera.models.network import Head, seeded
from tessera.models.upsampled_conv import Offsets


class ClassificationHead(Head):
    """The deepest map averaged to ``cells`` × ``cells`` cells, as one vector, then a linear classifier.

    With a temperature it is C of MAL: ``fc1`` (with bias) to ``hidden`` numbers, length 1, one prototype per class
    without bias, over T. Those are 156,928 parameters at 512 → 256 → 100 (ResNet-18) and 12,896,768 at 25,088 → 512 →
    100 (VGG16), as printed (MAL §5.1, after minimax entropy's deep predictor). Layers are 1×1 convolutions of a map of
    one cell, so that vectors and logits are maps (N, …, 1, 1). ``mc_dropout``: probability of dropout before the
    average, in training and in the passes of BALD (MAL §4.1: 0.2).
    """

    whole_image = True

    def __init__(
        self,
        classes: int,
        channels: int,
        *,
        cells: int = 1,
        hidden: int = 256,
        temperature: float | None = None,
        unit_prototypes: bool = False,
        mc_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.cells, self.inputs = cells, channels * cells * cells
        self.mc_dropout = mc_dropout
        self.dropout = Dropout(mc_dropout or 0.0)
        self.average: nn.Module = nn.AdaptiveAvgPool2d(cells)
        self.fc1 = nn.Sequential() if temperature is None else nn.Conv2d(self.inputs, hidden, 1)
        last = self.inputs if temperature is None else hidden
        self.classifier = pixel_classifier(last, classes, temperature, unit_prototypes=unit_prototypes)
        self.reset_parameters()

    def forward(self, low: Tensor, high: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Map high (N, channels, h, w) → logits (N, classes, 1, 1); low map and offsets are not read."""
        return self.classify(self.fc1(self.vector(self.dropout(high))))

    def vector(self, high: Tensor) -> Tensor:
        """Map high (N, channels, h, w) → F's vector (N, channels · cells², 1, 1), channel after channel."""
        vector: Tensor = self.average(high).flatten(1)[..., None, None]
        return vector

    def mc_logits(self, low: Tensor, high: Tensor, seeds: Sequence[int]) -> Iterator[Tensor]:
        """Yield the logits of one pass per seed, see `Head.mc_logits`: dropout before the average is on."""
        before = self.dropout.training
        for seed in seeds:
            try:
                self.dropout.train()
                with seeded(seed):
                    dropped = self.dropout(high)
            finally:
                self.dropout.train(before)
            yield self.classify(self.fc1(self.vector(dropped)))

    def taps(self, low: Tensor, high: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Return maps by name, as `Head.taps` says: ``decoder`` is F's vector, which C and MAL's D read."""
        made = {"decoder": self.vector(high)}
        if "logits" in names:
            made["logits"] = self.classify(self.fc1(made["decoder"]))
        return {name: made[name] for name in names if name in made}
