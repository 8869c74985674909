"""Pseudo labels in the report: the last round's, in the colours of the classes, with where each label comes from."""

import base64
import re
from dataclasses import replace

import cv2
import numpy as np

from tessera.reporting import LabelledPicture, ReportData, RunReport, render
from tessera.reporting.pseudo_labels import ORIGINS, figure
from unit.reporting.sample import run

COLORS = ((255, 0, 0), (0, 255, 0))


def picture(**changes):
    classes = np.full((4, 10), 255, np.uint8)
    classes[0], classes[1], classes[2] = 0, 1, 2
    provenance = np.zeros((4, 10), np.uint8)
    provenance[0], provenance[1], provenance[2] = 1, 2, 3
    return replace(LabelledPicture("im<0>", np.zeros((4, 10, 3), np.uint8), classes, provenance), **changes)


def decoded(html):
    """The PNGs of a figure as RGB."""
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for one in found]


def test_labels_and_origins_are_drawn_in_their_colours():
    html = figure(picture(), COLORS)
    labels, origins = decoded(html)
    assert [tuple(row[0].tolist()) for row in labels[:3]] == [(255, 0, 0), (0, 255, 0), (120, 120, 120)]
    assert tuple(labels[3, 0].tolist()) == ORIGINS[0][1]
    assert [tuple(row[5].tolist()) for row in origins] == [ORIGINS[n][1] for n in (1, 2, 3, 0)]
    assert "25.0% human" in html
    assert "im&lt;0&gt;" in html
    assert "im<0>" not in html


def test_large_planes_are_thinned_to_the_width_of_photos():
    large = picture(
        rgb=np.zeros((40, 1000, 3), np.uint8),
        classes=np.zeros((40, 1000), np.uint8),
        provenance=np.ones((40, 1000), np.uint8),
    )
    assert [one.shape for one in decoded(figure(large, COLORS))] == [(14, 334, 3)] * 2


def test_the_page_shows_the_last_round_that_has_them():
    base = run("a", 0)
    rounds = [replace(one, labelled=(picture(image_id=f"im{one.round}"),)) for one in base.rounds[:2]]
    with_them = RunReport(base.summary, (*rounds, *base.rounds[2:]), COLORS)
    page = render(ReportData("t", (with_them,)))
    assert 'id="pseudo"' in page
    assert "im1: pseudo labels" in page
    assert "im0: pseudo labels" not in page
    assert 'id="pseudo"' not in render(ReportData("t", (base,)))
