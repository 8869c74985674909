"""Pictures of pseudo labels: the image, its labels in the colours of their classes, and the source of each label."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tessera.formats.images import encode_jpeg, encode_png
from tessera.reporting.data import LabelledPicture, RunReport
from tessera.reporting.markup import Markup, el
from tessera.reporting.pictures import WIDTH, shrink

ORIGINS = (
    ("none", (38, 42, 51)),
    ("human", (64, 145, 108)),
    ("localised", (72, 126, 214)),
    ("expanded", (233, 157, 58)),
)
"""Where a label comes from, in the order of the plane's values, and the colour it is drawn in."""
_UNDEFINED = (120, 120, 120)


def section(runs: Sequence[RunReport]) -> tuple[str, str, Markup] | None:
    """Return anchor, title and content: the last round with pseudo labels of each run; None where no run has any."""
    parts = []
    for run in runs:
        found = [one for one in run.rounds if one.labelled]
        if found:
            parts.append(el("h3", f"{run.recipe}, seed {run.seed}, round {found[-1].round}"))
            figures = [figure(one, run.class_colors) for one in found[-1].labelled]
            parts.append(el("div", figures, class_="pair"))
    if not parts:
        return None
    keys = [
        part
        for name, colour in ORIGINS
        for part in (
            el("i", class_="swatch-key", style=f"background:rgb({','.join(map(str, colour))})"),
            Markup(f"{name} "),
        )
    ]
    note = el(
        "p",
        "What the second stage of the training learned from. Human: the one class that an answer names. Localised: the "
        "class of several named ones whose prototype is nearest. Expanded: carried over to a neighbour without an "
        "answer. ",
        keys,
        class_="note",
    )
    return "pseudo", "Pseudo labels", Markup(note + "".join(parts))


def figure(one: LabelledPicture, colors: Sequence[tuple[int, int, int]]) -> Markup:
    """Draw the image, its labels and their origins side by side, with the share of pixels of each origin."""
    palette = np.full((256, 3), ORIGINS[0][1], np.uint8)
    palette[: len(colors)] = np.array(colors, np.uint8).reshape(-1, 3)
    palette[len(colors)] = _UNDEFINED
    origins = np.array([colour for _, colour in ORIGINS], np.uint8)
    photo = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(shrink(one.rgb, WIDTH), 80)).decode("ascii")
    shares = np.bincount(one.provenance.reshape(-1), minlength=len(ORIGINS)) / one.provenance.size
    told = ", ".join(f"{share:.1%} {name}" for (name, _), share in zip(ORIGINS, shares, strict=True))
    panels = [
        el("img", src=source, alt=f"{one.image_id}: {what}", title=what, class_="photo")
        for what, source in (
            ("image", photo),
            ("pseudo labels", _uri(palette[_thinned(one.classes)])),
            ("where they come from", _uri(origins[_thinned(one.provenance)])),
        )
    ]
    caption = el("figcaption", el("b", one.image_id), f" {told}")
    return el("figure", el("div", panels, class_="scatters"), caption, class_="picture")


def _thinned(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every n-th row and column, at most ``WIDTH`` columns: labels have no mean."""
    step = -(-plane.shape[1] // WIDTH)
    return plane[::step, ::step]


def _uri(rgb: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(rgb)).decode("ascii")
