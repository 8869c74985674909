"""Chosen regions drawn on their images: the photo as a data URI, the outlines as vectors on top."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from tessera.formats.images import encode_jpeg
from tessera.reporting.data import Drawing, DrawnRegion
from tessera.reporting.markup import Markup, el

WIDTH = 360
"""Photos are shrunk to this many pixels: a page of a hundred stays below a few megabytes."""

MAX_RANKS = 9
"""Up to this many regions of an image carry their rank; more would hide the picture."""


def picture(drawing: Drawing) -> Markup:
    """Draw one image: the chosen regions bright with their ranks, the rest dimmed."""
    height, width = drawing.rgb.shape[:2]
    small = shrink(drawing.rgb, WIDTH)
    uri = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(small, 80)).decode("ascii")
    regions = sorted(drawing.regions, key=lambda region: region.rank)
    ranks = ", ".join(str(region.rank + 1) for region in regions[:MAX_RANKS]) + (
        "…" if len(regions) > MAX_RANKS else ""
    )
    count = f"{len(regions)} region" + ("" if len(regions) == 1 else "s")
    parts = [
        el("title", f"{drawing.image_id}: {count} chosen, ranks {ranks}"),
        el("image", href=uri, width=width, height=height, preserveAspectRatio="none"),
    ]
    shapes = [_path(region) for region in regions]
    parts.append(el("path", d=f"M0 0H{width}V{height}H0Z" + "".join(shapes), class_="dim", fill_rule="evenodd"))
    for shape in shapes:
        parts.append(el("path", d=shape, class_="under"))
        parts.append(el("path", d=shape, class_="outline"))
    if len(regions) <= MAX_RANKS:
        parts += [badge for region in regions for badge in _badge(region, width)]
    figure = el("svg", parts, viewBox=f"0 0 {width} {height}", role="img", class_="photo")
    caption = el("figcaption", el("b", drawing.image_id), f" {count} · rank {ranks}")
    return el("figure", figure, caption, class_="picture")


def shrink(rgb: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Shrink a photo, uint8 (H, W, 3), to ``width`` pixels, each an average of those that it covers; never enlarge.

    By Pillow, not OpenCV, whose 91 MB the dashboard would need for this alone.
    """
    if rgb.shape[1] <= width:
        return rgb
    from PIL import Image

    height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.HAMMING), np.uint8)


def _path(region: DrawnRegion) -> str:
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in np.asarray(p).tolist()) + "Z" for p in region.polygons)


def _badge(region: DrawnRegion, width: int) -> list[Markup]:
    # In the upper left of the region: the middle is what the viewer wants to see.
    corners = np.concatenate([np.asarray(polygon) for polygon in region.polygons])
    x, y = corners[np.lexsort((corners[:, 0], corners[:, 1]))[0]].tolist()
    size = width / 22
    text = str(region.rank + 1)
    box = size * (0.5 + 0.62 * len(text))
    return [
        el("rect", x=float(x), y=float(y), width=box, height=size * 1.25, class_="badge"),
        el("text", text, x=x + box / 2, y=y + size * 0.98, font_size=size, text_anchor="middle", class_="rank"),
    ]
