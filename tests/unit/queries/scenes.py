"""Label maps with regions, as hypothesis draws them, and the slow way to look at them."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tessera.queries import AnnotatedImage
from tessera.regions import compact, region_table

IGNORE = 255


@st.composite
def scenes(draw, largest=14, regions=3, labels=(0, 1, 2, IGNORE)):
    """(labels, regions): blocks of pixels rather than noise half of the time, so that regions have insides."""
    shape = draw(st.tuples(st.integers(1, largest), st.integers(1, largest)))
    block = draw(st.sampled_from([1, 4]))
    small = tuple(-(-side // block) for side in shape)
    grow = np.ones((block, block), np.uint8)
    truth = np.kron(draw(hnp.arrays(np.uint8, small, elements=st.sampled_from(labels))), grow)
    raw = np.kron(draw(hnp.arrays(np.int32, small, elements=st.integers(0, regions - 1))), grow)
    cut = (slice(shape[0]), slice(shape[1]))
    return truth[cut].astype(np.uint8), compact(raw[cut])[0]


def questions(labels, regions, classes=None, image_id="a"):
    """One question a region."""
    frame, table = AnnotatedImage(image_id, labels, regions, IGNORE, classes), region_table(regions)
    return [frame.question(region, table.box(region)) for region in range(len(table))]


def trimmed(regions, region_id, width):
    """Pixels of a region that are kept: no pixel with a side neighbour of another region within width // 2 (square)."""
    height, w = regions.shape
    thick = set()
    for y in range(height):
        for x in range(w):
            for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= ny < height and 0 <= nx < w and regions[ny, nx] != regions[y, x]:
                    thick.add((y, x))
    reach = width // 2
    kept = [
        (y, x)
        for y, x in np.argwhere(regions == region_id).tolist()
        if not any((y + dy, x + dx) in thick for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1))
    ]
    return kept or [tuple(place) for place in np.argwhere(regions == region_id).tolist()]


def paste(question, crop):
    """The crop on a map of the image, 255 elsewhere."""
    whole = np.full(question.frame.labels.shape, IGNORE, np.uint8)
    y0, x0, y1, x1 = question.box
    whole[y0:y1, x0:x1] = crop
    return whole
