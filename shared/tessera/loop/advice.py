"""Which kind of strategy suits a data set and a budget: the published table, with the evidence.

Source: Best Practices in Active Learning for Semantic Segmentation, Table 6 and appendix D. Advice is text for a
person; it never changes a recipe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tessera.acquisition.diagnostics import Redundancy
from tessera.errors import BadInput

Level = Literal["low", "between", "high"]
Confidence = Literal["low", "medium", "high"]
Domain = Literal["unknown", "broad", "narrow"]
Choice = Literal["random", "single", "batch"]

PAPER = "Best Practices, Table 6"
MANY = 1000
"""From this many initial images on a budget counts as high (A2D2-3K: 1,000 of 40,135, 2.5 %, per cycle)."""


@dataclass(frozen=True)
class Calibration:
    """Thresholds of redundancy for the features of one backbone (measured in docs/results/advise.md)."""

    backbone: str
    radius: float
    """Cosine distance of near-duplicates."""
    leader_share: float
    """Redundant if a smaller share of the images remains without near-duplicates."""
    nearest: float
    """Second criterion: redundant if the mean similarity to the most similar image is higher."""
    calibrated: bool = True


CALIBRATIONS = {
    "imagenet": Calibration("imagenet", radius=0.05, leader_share=0.73, nearest=0.925),
    "street": Calibration("street", radius=0.08, leader_share=0.75, nearest=0.88),
}
CLEAR = 0.05
"""A leader share this far from its threshold is a clear case."""

TABLE: dict[tuple[bool, Literal["low", "high"]], tuple[Choice, str]] = {
    (False, "low"): ("random", "random"),
    (False, "high"): ("single", "single, semi-supervised"),
    (True, "low"): ("batch", "batch; semi-supervised training adds nothing"),
    (True, "high"): ("batch", "batch, semi-supervised"),
}
"""Table 6: (redundant, budget) → the best choice with supervised training, and a text for semi-supervised training."""

STRATEGIES: dict[Choice, tuple[str, dict[str, object]]] = {
    "random": ("draw at random; no score is needed", {"score": [], "selection": {"stages": [{"name": "random"}]}}),
    "single": (
        "take the most uncertain images, each judged alone (entropy; the study also ran EquAL and BALD)",
        {
            "score": [{"name": "entropy", "aggregate": "mean"}],
            "selection": {"stages": [{"name": "top", "by": "entropy_mean"}]},
        },
    ),
    "batch": (
        "choose images that cover the pool together (core-set: k-center in pooled ASPP features)",
        {
            "score": [],
            "selection": {
                "embedding": {"features": {"name": "aspp"}, "projection": {"name": "none"}, "fit_on": "pool"},
                "stages": [{"name": "k_center"}],
            },
        },
    ),
}
"""Choice → its explanation, and the part of a recipe that makes it."""


@dataclass(frozen=True)
class Judgement:
    """Whether a pool is redundant, and the evidence."""

    redundant: bool
    confidence: Confidence
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class BudgetShares:
    """Shares of the images: labelled first, in each round, and at the end."""

    initial: float
    step: float
    total: float


@dataclass(frozen=True)
class Regime:
    """Which column of the table a budget falls into; ``between`` reads the high one, with less confidence."""

    level: Level
    evidence: str


@dataclass(frozen=True)
class Advice:
    """The table's cell, why, and what speaks against it."""

    choice: Choice
    rule: str
    what: str
    semi_supervised: str
    confidence: Confidence
    evidence: tuple[str, ...]
    caveats: tuple[str, ...]
    recipe: dict[str, object]


def calibration(pretrained: str) -> Calibration:
    """Return the thresholds for a backbone; for one that was never measured, ImageNet's with ``calibrated`` false."""
    if pretrained in CALIBRATIONS:
        return CALIBRATIONS[pretrained]
    base = CALIBRATIONS["imagenet"]
    return Calibration(pretrained, base.radius, base.leader_share, base.nearest, calibrated=False)


def budget(text: str) -> BudgetShares:
    """Read ``I-S`` or ``I-S-B``, percent of the images: first, in each round, and in all (I + 4·S unless given).

    The study's settings are 2-2 (to 10 %), 5-5 (to 25 %) and 10-10 (to 50 %). BadInput for anything else.
    """
    number = r"(\d+(?:\.\d+)?)"
    match = re.fullmatch(rf"{number}-{number}(?:-{number})?", text.strip().replace("%", ""))
    if match is None:
        raise BadInput(f"budget {text!r}: write INITIAL-STEP or INITIAL-STEP-TOTAL in percent of the images, as 10-10")
    initial, step = float(match[1]), float(match[2])
    total = float(match[3]) if match[3] else initial + 4 * step
    if not 0 < initial <= total <= 100 or step <= 0:
        raise BadInput(f"budget {text!r}: {initial:g} % first and {total:g} % in all; they must grow, up to 100 %")
    return BudgetShares(initial / 100, step / 100, total / 100)


def regime(given: BudgetShares, images: int) -> Regime:
    """Return whether a budget is low or high in the study's sense: 2-2 is low, 10-10 is high, 5-5 lies between."""
    first = round(given.initial * images)
    words = f"{100 * given.initial:g} % first, {100 * given.step:g} % per round, {100 * given.total:g} % in all"
    if first >= MANY:
        return Regime("high", f"{words}; {first:,} images first, and the study calls 1,000 of 40,135 (A2D2-3K) high")
    if max(given.initial, given.step) >= 0.1:
        return Regime("high", f"{words}; the study calls 10-10 high")
    if given.initial <= 0.02 and given.total <= 0.1:
        return Regime("low", f"{words}; the study calls 2-2 (to 10 %) low")
    return Regime("between", f"{words}; between the study's 2-2 (low) and 10-10 (high), as its 5-5: read as high")


def judge(measured: Redundancy, scale: Calibration) -> Judgement:
    """Decide by the share of images that remain without near-duplicates; nearest-image similarity is the second
    test."""
    redundant = measured.leader_share < scale.leader_share
    agrees = redundant == (measured.nearest > scale.nearest)
    clear = abs(measured.leader_share - scale.leader_share) >= CLEAR
    confidence: Confidence = "high" if agrees and clear else "medium" if agrees or clear else "low"
    evidence = [
        f"{measured.leaders:,} of {measured.images:,} images ({measured.leader_share:.0%}) remain when near-duplicates "
        f"(cosine ≥ {1 - measured.radius:g}) are left out; redundant below {scale.leader_share:.0%}",
        f"mean similarity to the most similar image {measured.nearest:.3f}; redundant above {scale.nearest:g}"
        + ("" if agrees else ": this disagrees"),
        f"{measured.twins:.0%} of the images have a near-duplicate; effective number of images "
        f"{measured.effective_size:,.0f} ({measured.effective_share:.0%})",
    ]
    if measured.adjacent is not None and measured.adjacent_by_chance is not None:
        apart = f", {measured.frame_seconds:.3g} s apart" if measured.frame_seconds else ""
        evidence.append(
            f"in {measured.adjacent:.0%} of the images of sequences the most similar image is the frame before or "
            f"after{apart} (by chance {measured.adjacent_by_chance:.1%})"
        )
    if not scale.calibrated:
        confidence = "low"
        evidence.append(f"the thresholds were not measured for backbone {scale.backbone}: ImageNet's are used")
    return Judgement(redundant, confidence, tuple(evidence))


def advise(judgement: Judgement, of: Regime, domain: Domain = "unknown") -> Advice:
    """Look the case up in the table; nuances that the study reports for it come as caveats.

    ``domain``: narrow where all images show one kind of scene (driving), broad as PASCAL VOC. At a low budget on
    diverse data the study's appendix contradicts its table for narrow domains; said to be narrow, it follows the
    appendix.
    """
    column: Literal["low", "high"] = "low" if of.level == "low" else "high"
    kind = "redundant" if judgement.redundant else "diverse"
    choice, semi = TABLE[judgement.redundant, column]
    rule = f"{PAPER}: {kind} data, {column} budget: {choice}"
    confidence = judgement.confidence
    caveats = _caveats(judgement.redundant, of.level)
    if kind == "diverse" and column == "low":
        confidence = "low"
        if domain == "narrow":
            choice = "single"
            rule = f"Best Practices, appendix D.1 (its Table 6 says random): one domain, low budget: {choice}"
    elif of.level == "between" and confidence == "high":
        confidence = "medium"
    what, recipe = STRATEGIES[choice]
    return Advice(choice, rule, what, semi, confidence, (*judgement.evidence, of.evidence), caveats, recipe)


def _caveats(redundant: bool, level: Level) -> tuple[str, ...]:
    found = []
    if not redundant and level == "low":
        found.append(
            "low budget, diverse: random won on PASCAL VOC only (2-2: 68.60 with, 66.41 without semi-supervised "
            "training); on driving data single was best (Cityscapes 2-2: 51.24 against 46.05 for random; A2D2 Pool-0f: "
            "41.40 against 36.82), and worse with semi-supervised training. If your images are of one domain, say so: "
            "--set domain=narrow"
        )
    if not redundant and level != "low":
        found.append(
            "Cityscapes 10-10: with semi-supervised training core-set was best (63.14), though single was best without"
        )
        found.append(
            "PASCAL VOC 5-5: core-set was best by a hair; single won only at 10-10. Differences shrink with the budget"
        )
    if redundant:
        found.append(
            "more labels can hurt: on Pool-11f core-set with semi-supervised training and 30 % of the labels beat all "
            "of them"
        )
        if level == "low":
            found.append("only one redundant pool was run at a low budget (Pool-11f: core-set 39.63, random 37.74)")
    if not redundant:
        found.append("semi-supervised training with single was harmful or useless everywhere but on PASCAL VOC")
    found.append("differences are 1 to 3 mIoU: run three seeds or more, and a random arm beside it")
    return tuple(found)
