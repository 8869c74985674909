"""One round: what was chosen, as pictures; and one of its images with the prediction and the answers beside it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.dashboard import prediction, web
from services.dashboard.layout import page, pages_of
from services.dashboard.pages.home import number
from services.dashboard.run_data import RunData, round_of
from tessera.formats import images, schemas
from tessera.formats.manifests import DatasetManifest
from tessera.pb.runs_pb2 import RoundView, RunView
from tessera.queries.polygons import OUTSIDE
from tessera.regions import outlines
from tessera.reporting import Drawing, DrawnRegion
from tessera.reporting.markup import Markup, el
from tessera.reporting.pictures import picture as draw
from tessera.reporting.pictures import shrink
from tessera.runtime.pool_images import PoolImages, refs

PAGE = 12
_WIDTH = 720
_HOUR = {"cache-control": "private, max-age=3600"}

Chosen = tuple[str, dict[int, int]]


async def show(data: RunData, request: Request) -> Response:
    """Show the images of a round in the order of its best choices; the pictures are fetched when they are looked at."""
    view, entry, chosen = await _round(data, request)
    at, base = number(request), _address(view, entry)
    places = range(at * PAGE, min((at + 1) * PAGE, len(chosen)))
    figures = [
        el("a", _waiting(chosen[place][0], f"{base}/pictures/{place}"), href=f"{base}/images/{place}")
        for place in places
    ]
    regions = sum(len(of) for _, of in chosen)
    cost = entry.cost
    facts = f"{regions:,} regions in {len(chosen):,} images"
    facts += f"; {cost.clicks:,} clicks, {cost.labelling_seconds:,.0f} s" if cost.regions else "; not answered yet"
    notes = [el("p", note, class_="note") for note in entry.notes]
    content = (
        *_title(view, f"Round {entry.round}"),
        el("p", facts),
        Markup("".join(notes)),
        _neighbours(view, entry),
        el("div", figures, class_="gallery big") if figures else el("p", "Nothing is chosen yet."),
        pages_of(len(chosen), at, PAGE, base),
    )
    key = request.state.form_key
    return HTMLResponse(page(f"Round {entry.round}", web.person_of(request), *content, form_key=key))


def _waiting(image_id: str, address: str) -> Markup:
    return el("div", el("p", image_id), class_="picture waiting", data_fragment=address)


async def picture(data: RunData, request: Request) -> Response:
    """Return one picture of the gallery as a fragment: the image with the regions that were chosen on it."""
    view, _, chosen = await _round(data, request)
    image_id, regions = _at(chosen, request)
    pool = await data.pool(view)
    return HTMLResponse(await _drawn(pool, image_id, regions), headers=_HOUR)


async def image(data: RunData, request: Request) -> Response:
    """Show one image: the choice, the prediction of the model that chose, and the answers, side by side."""
    view, entry, chosen = await _round(data, request)
    place = int(request.path_params["place"])
    image_id, regions = _at(chosen, request)
    pool, manifest = await data.pool(view), await data.manifest(view)
    answered = await _answers(data, entry, image_id, pool, manifest)
    model = _model_before(view, entry)
    base = f"{_address(view, entry)}/images/{place}"
    predicted = (
        el(
            "div",
            el("p", "The model computes its prediction …"),
            class_="picture waiting",
            data_fragment=f"{base}/prediction",
        )
        if model is not None and prediction.available()
        else el("p", _no_model(entry) if model is None else prediction.MISSING, class_="note")
    )
    panels = [
        el("div", el("h2", "Chosen"), await _drawn(pool, image_id, regions)),
        el("div", el("h2", "Prediction of the model that chose"), predicted),
        el("div", el("h2", "Answer"), answered),
    ]
    legend = [
        el("span", el("i", class_="swatch-key", style=f"background:rgb{one.color}"), one.name)
        for one in manifest.classes
    ]
    base_round = _address(view, entry)
    around = [
        el("a", text, href=f"{base_round}/images/{to}")
        for text, to in (("← previous image", place - 1), ("next image →", place + 1))
        if 0 <= to < len(chosen)
    ]
    content = (*_title(view, f"Round {entry.round}: {image_id}", entry), el("nav", around, aria_label="Images"),
               el("div", panels, class_="side-by-side"), el("div", legend, class_="legend"))  # fmt: skip
    return HTMLResponse(page(image_id, web.person_of(request), *content, form_key=request.state.form_key))


async def predicted(data: RunData, request: Request) -> Response:
    """Return the prediction of the model that chose, drawn over the image, as a fragment; a page says why it failed."""
    view, entry, chosen = await _round(data, request)
    image_id, _ = _at(chosen, request)
    model = _model_before(view, entry)
    if model is None or not prediction.available():
        raise web.Refused(404, prediction.MISSING)
    pool, manifest = await data.pool(view), await data.manifest(view)
    classes = await data.predictions.of(model, pool.item(image_id), data.store, len(manifest.classes))
    rgb = await pool.rgb(image_id)
    photo = await asyncio.to_thread(_overlaid, rgb, classes, manifest)
    return HTMLResponse(_photo(photo, f"Prediction for {image_id}"), headers=_HOUR)


async def _round(data: RunData, request: Request) -> tuple[RunView, RoundView, list[Chosen]]:
    view = await data.runs.get(request.path_params["run_id"])
    entry = round_of(view, int(request.path_params["number"]))
    return view, entry, await data.chosen(entry)


def _at(chosen: list[Chosen], request: Request) -> Chosen:
    place = int(request.path_params["place"])
    if place >= len(chosen):
        raise web.Refused(404, f"This round has {len(chosen)} images.")
    return chosen[place]


async def _drawn(pool: PoolImages, image_id: str, regions: Mapping[int, int]) -> Markup:
    rgb, ids = await pool.rgb(image_id), await pool.region_map(image_id)

    def make() -> Markup:
        traced = outlines(ids, list(regions))
        drawn = tuple(DrawnRegion(rank, tuple(traced[region_id])) for region_id, rank in regions.items())
        return draw(Drawing(image_id, rgb, drawn))

    return await asyncio.to_thread(make)


async def _answers(
    data: RunData, entry: RoundView, image_id: str, pool: PoolImages, manifest: DatasetManifest
) -> Markup:
    """Draw the answers about one image: pixels over the photo, sets of classes as words."""
    if not entry.HasField("ledger"):
        return el("p", "Not answered yet.", class_="note")
    ledger = await data.table(schemas.LEDGER, entry.ledger, "ledger")
    rows = [row for row, name in enumerate(ledger["image_id"]) if name == image_id]
    stored = refs({name: [column[row] for row in rows] for name, column in ledger.items()}, "answer_")
    rgb = await pool.rgb(image_id)
    labels = np.full(rgb.shape[:2], OUTSIDE, np.uint8)
    words: list[Markup] = []
    for row, ref in zip(rows, stored, strict=True):
        y0, x0, y1, x1 = (int(ledger[name][row]) for name in ("y0", "x0", "y1", "x1"))
        if ref.key:
            stored_crop = await data.store.get(ref)
            crop = await asyncio.to_thread(images.decode_labels, stored_crop, f"answer about {image_id}")
            part = labels[y0:y1, x0:x1]
            part[crop != OUTSIDE] = crop[crop != OUTSIDE]
        else:
            named = ", ".join(_name(manifest, int(one)) for one in ledger["classes"][row])
            words.append(el("li", f"Region {int(ledger['region_id'][row])}: {named}"))
    photo = await asyncio.to_thread(_overlaid, rgb, labels, manifest)
    clicks = sum(int(ledger["clicks"][row]) for row in rows)
    seconds = sum(float(ledger["seconds"][row]) for row in rows)
    answers = f"{len(rows)} answer{'' if len(rows) == 1 else 's'}"
    caption = el("p", f"{answers}, {clicks} clicks, {seconds:,.0f} s", class_="note")
    shown = _photo(photo, f"Answers about {image_id}")
    return Markup(shown + caption + (el("ul", words) if words else ""))


def _photo(jpeg: bytes, words: str) -> Markup:
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    return el("img", src=uri, alt=words, class_="photo")


def _name(manifest: DatasetManifest, index: int) -> str:
    return manifest.classes[index].name if index < len(manifest.classes) else "undefined"


def _overlaid(rgb: NDArray[np.uint8], classes: NDArray[np.uint8], manifest: DatasetManifest) -> bytes:
    """Return a JPEG of the photo in gray with the classes in their colours over it; 255 shows the photo, dimmed.

    It is made at the size in which it is shown: a large photo costs no more memory than a small one.
    """
    small = shrink(rgb, _WIDTH)
    height, width = small.shape[:2]
    rows = np.arange(height) * classes.shape[0] // height
    classes = classes[rows[:, None], np.arange(width) * classes.shape[1] // width]
    colors = np.zeros((256, 3), np.float32)
    for index, one in enumerate(manifest.classes):
        colors[index] = one.color
    gray = small.astype(np.float32).mean(axis=2, keepdims=True).repeat(3, axis=2)
    named = (classes < len(manifest.classes))[..., None]
    mixed = np.where(named, 0.35 * gray + 0.65 * colors[classes], 0.45 * gray)
    return images.encode_jpeg(mixed.astype(np.uint8), 85)


def _model_before(view: RunView, entry: RoundView) -> Any:
    """Return the model that chose this round: that of the round before; None for the first."""
    found = [one.model for one in view.rounds if one.round == entry.round - 1 and one.HasField("model")]
    return found[0] if found else None


def _no_model(entry: RoundView) -> str:
    return f"Round {entry.round} was chosen without a model."


def _address(view: RunView, entry: RoundView) -> str:
    return f"/runs/{view.spec.run_id}/rounds/{entry.round}"


def _title(view: RunView, title: str, entry: RoundView | None = None) -> Sequence[Markup]:
    run_id = view.spec.run_id
    trail = [el("a", run_id, href=f"/runs/{run_id}")]
    if entry is not None:
        trail.append(el("a", f"Round {entry.round}", href=_address(view, entry)))
    return el("nav", trail, aria_label="Breadcrumb", class_="trail"), el("h1", title)


def _neighbours(view: RunView, entry: RoundView) -> Markup:
    links = [
        el(
            "a",
            f"Round {one.round}",
            href=_address(view, one),
            aria_current="page" if one.round == entry.round else None,
        )
        for one in view.rounds
        if one.HasField("selection")
    ]
    return el("nav", links, aria_label="Rounds", class_="units")
