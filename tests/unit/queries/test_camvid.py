"""The published way of counting multi-class clicks, on all CamVid train images."""

from collections import Counter

import numpy as np
import pytest

from camvid import labels, needs_camvid, samples, seeds_maps
from tessera.queries import Frame, ask
from tessera.queries.polygons import components
from tessera.regions import boundary_band, region_table


@needs_camvid
@pytest.mark.timeout(600)
def test_multi_class_clicks_of_all_of_train():
    """Notes' measurement: 60,555 regions, 95,477 clicks, 84,162 without undefined; 441 regions empty after the trim."""
    maps = seeds_maps()
    regions = clicks = defined = empty = 0
    classes: Counter[int] = Counter()
    for sample in samples("train"):
        region_map = maps[sample.image_id].astype(np.int32)
        frame, table = Frame(sample.image_id, labels(sample), region_map, classes=11), region_table(region_map)
        left = np.bincount(region_map[~boundary_band(region_map, 5)], minlength=len(table))
        empty += int((left == 0).sum())
        for region in range(len(table)):
            answer = ask(frame.question(region, table.box(region)), ("multi_class", {}))
            clicks += answer.clicks
            defined += answer.clicks_without_undefined
            classes[min(answer.clicks, 5)] += 1
        regions += len(table)
    assert (regions, clicks, defined, empty) == (60_555, 95_477, 84_162, 441)
    shares = [round(100 * classes[count] / regions, 1) for count in (1, 2, 3, 4, 5)]
    assert shares == [65.7, 19.1, 9.8, 3.6, 1.9]


@needs_camvid
@pytest.mark.timeout(600)
def test_polygons_of_all_of_train():
    """Notes' proxy for CamVid, which has no polygons: 98,475 components, 22,011 of at least 16 px, 548,225 vertices."""
    count = large = vertices = 0
    for sample in samples("train"):
        truth = labels(sample)
        found = components(truth, np.ones(truth.shape, np.bool_), 2.0)
        count += len(found)
        large += sum(1 for one in found if one.pixels >= 16)
        vertices += sum(one.vertices for one in found)
    assert (count, large) == (98_475, 22_011)
    assert vertices == 548_225
