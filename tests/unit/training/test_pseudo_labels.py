"""Pseudo labels of MulActSeg against loops written from section 3.3, with every rule and option."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tessera import training
from tessera.errors import BadInput
from tessera.models.upsample import between
from tessera.training.methods.mulactseg import PseudoLabels, coarse, pseudo

pytestmark = pytest.mark.usefixtures("one_thread")

K = 5


def test_coarse_maps_are_read_as_torch_upsamples_them():
    maps = np.random.default_rng(0).normal(size=(6, 5, 7)).astype(np.float32)
    rows, columns = between(18, 5), between(29, 7)
    full = F.interpolate(torch.from_numpy(maps)[None], size=(18, 29), mode="bilinear", align_corners=False)[0].numpy()
    assert np.allclose(
        coarse.upsampled(maps, rows.at(slice(3, 11)), columns.at(slice(2, 29))), full[:, 3:11, 2:29], atol=1e-5
    )
    y, x = np.array([0, 4, 17]), np.array([28, 9, 0])
    assert np.allclose(coarse.vectors(maps, rows.at(y), columns.at(x)), full[:, y, x].T, atol=1e-5)
    assert np.allclose(coarse.lengths(maps, rows, columns), np.linalg.norm(full, axis=0), atol=1e-5)


def scene(seed=0, answered=4):
    """Nine regions of 6×6 pixels with a jagged rim, some answered, and random features and logits at stride 3."""
    rng = np.random.default_rng(seed)
    regions = np.kron(np.arange(9).reshape(3, 3), np.ones((6, 6))).astype(np.int32)
    regions[5, 3], regions[8, 6] = 3, 3
    asked = np.sort(rng.choice(9, answered, replace=False)).astype(np.int64)
    classes = np.zeros((answered, K), bool)
    for row in range(answered):
        classes[row, rng.choice(K, 1 + row % 3, replace=False)] = True
    features = rng.normal(size=(4, 6, 6)).astype(np.float32) + 0.5
    logits = rng.normal(size=(K, 6, 6)).astype(np.float32) * 2
    return features, logits, pseudo.Answers(regions, asked, classes)


def slowly(features, logits, answers, params, scale):
    """Section 3.3 pixel by pixel."""
    size = answers.regions.shape
    unit = F.normalize(torch.from_numpy(features), dim=0)
    f, z = (
        F.interpolate(one[None].double(), size=size, mode="bilinear", align_corners=False)[0].numpy()
        for one in (unit, torch.from_numpy(logits))
    )
    if params.renormalise:
        f = f / np.linalg.norm(f, axis=0)
    p = torch.from_numpy(z * scale).softmax(0).numpy()
    labels, source = np.full(size, 255), np.zeros(size, int)
    reached = {}
    for s, flags in zip(answers.asked, answers.classes, strict=True):
        own = list(zip(*np.nonzero(answers.regions == s), strict=True))
        named = np.flatnonzero(flags)
        prototypes = [f[(slice(None), *max(own, key=lambda x, c=c: p[(c, *x)]))] for c in named]
        cosine = {x: [float(f[(slice(None), *x)] @ q) for q in prototypes] for x in own}
        for x in own:
            likeness = cosine[x] if params.localisation == "prototypes" else [p[(c, *x)] for c in named]
            labels[x], source[x] = named[int(np.argmax(likeness))], 1 if len(named) == 1 else 2
        if params.expansion == "none":
            continue
        alpha = []
        for place, c in enumerate(named):
            mine = sorted(cosine[x][place] for x in own if labels[x] == c)
            alpha.append(mine[(len(mine) - 1) // 2] if mine else 1.0)
        near = {
            answers.regions[y + dy, x + dx]
            for y, x in own
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if 0 <= y + dy < size[0] and 0 <= x + dx < size[1]
        }
        for x in zip(*np.nonzero(np.isin(answers.regions, [r for r in near if r not in answers.asked])), strict=True):
            values = [float(f[(slice(None), *x)] @ q) for q in prototypes]
            over = [value > a for value, a in zip(values, alpha, strict=True)]
            if any(over):
                allowed = [v if o or params.expansion == "code" else -9.0 for v, o in zip(values, over, strict=True)]
                reached.setdefault(x, []).append((max(allowed), named[int(np.argmax(allowed))]))
    for x, offers in reached.items():
        labels[x] = offers[-1][1] if params.conflict == "last" else max(offers, key=lambda offer: offer[0])[1]
        source[x] = 3
    return labels, source


@pytest.mark.parametrize("params", [
    {}, {"expansion": "code"}, {"expansion": "none"}, {"conflict": "last"}, {"renormalise": False},
    {"expansion": "code", "conflict": "last", "renormalise": False},
    {"localisation": "confident", "expansion": "none"},
])  # fmt: skip
def test_pseudo_labels_are_those_of_the_formulas(params):
    params = PseudoLabels(**params)
    expanded = 0
    for seed in range(4):
        for scale in (1.0, 0.1):
            features, logits, answers = scene(seed)
            got = pseudo.pseudo_labels(features, logits, answers, params, scale)
            labels, source = slowly(features, logits, answers, params, scale)
            assert np.array_equal(got.classes, labels)
            assert np.array_equal(got.provenance, source)
            expanded += int((source == 3).sum())
    assert bool(expanded) == (params.expansion != "none")


def test_the_two_rules_of_expansion_and_of_conflicts_differ():
    def labels(**params):
        return [pseudo.pseudo_labels(*scene(seed), PseudoLabels(**params), 1.0).classes for seed in range(4)]

    plain = labels()
    for other in ({"expansion": "code"}, {"conflict": "last"}):
        assert any(not np.array_equal(one, two) for one, two in zip(plain, labels(**other), strict=True))


def test_a_threshold_is_the_lower_median_and_one_where_no_pixel_is_near():
    cosine = np.array([[0.9, 0.2, 0.8, 0.7, 0.1], [0.1, 0.6, 0.1, 0.1, 0.5], [0.0] * 5], np.float32)
    assert pseudo.thresholds(cosine, np.array([0, 1, 0, 0, 1])).tolist() == pytest.approx([0.8, 0.5, 1.0])


def test_a_prototype_that_no_pixel_is_nearest_to_never_expands():
    """Two classes whose most probable pixel is the same have one prototype between them; the first takes all."""
    features, _, answers = scene()
    answers = answers._replace(asked=np.array([4]), classes=np.array([[False, True, False, True, False]]))
    logits = np.zeros((K, 6, 6), np.float32)
    logits[[1, 3], 2, 3] = 4.0
    got = pseudo.pseudo_labels(features, logits, answers, PseudoLabels(), 1.0)
    assert set(np.unique(got.classes)) == {1, 255}


def test_a_region_of_one_class_is_its_class_whatever_the_network_says():
    features, logits, answers = scene()
    answers = answers._replace(asked=np.array([4]), classes=np.eye(K, dtype=bool)[[4]])
    got = pseudo.pseudo_labels(features, logits, answers, PseudoLabels(expansion="none"), 1.0)
    own = answers.regions == 4
    assert (got.classes[own] == 4).all()
    assert (got.provenance[own] == pseudo.HUMAN).all()
    assert (got.classes[~own] == 255).all()


def test_expansion_without_prototypes_is_refused():
    with pytest.raises(BadInput, match="set expansion to none"):
        training.parameters("mulactseg", {"pseudo": {"localisation": "confident"}})


def test_the_classifiers_temperature_and_that_of_the_prototypes_may_differ():
    features, logits, answers = scene(3)
    made = [pseudo.pseudo_labels(features, logits, answers, PseudoLabels(), scale).classes for scale in (1.0, 0.1)]
    assert not np.array_equal(*made)
