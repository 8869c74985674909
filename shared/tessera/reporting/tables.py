"""The tables of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tessera.evaluation import mean_and_interval
from tessera.reporting import costs
from tessera.reporting.compare import Comparison, Difference, Group
from tessera.reporting.data import RunReport
from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import (
    ABSENT,
    count,
    duration,
    miou,
    percent,
    published,
    qualities,
    signed,
    split_quality,
)
from tessera.reporting.palette import colors
from tessera.reporting.svg import MARKERS, ink, marker

STEPS = ("score", "embed", "select", "label", "train", "evaluate")


def table(
    head: Sequence[str | Markup], rows: Sequence[Sequence[str | Markup]], caption: str = "", tight: bool = False
) -> Markup:
    """Lay out a table whose first column names the row."""
    header = el("thead", el("tr", [el("th", cell, scope="col") for cell in head]))
    body = el("tbody", [el("tr", el("th", row[0], scope="row"), [_cell(cell) for cell in row[1:]]) for row in rows])
    inner = el("table", el("caption", caption) if caption else None, header, body, class_="tight" if tight else None)
    return el("div", inner, class_="scroll", tabindex="0", role="group", aria_label=caption or "table")


def _cell(cell: str | Markup) -> Markup:
    return cell if isinstance(cell, Markup) and cell.startswith("<td") else el("td", cell)


def key(recipe: str, comparison: Comparison) -> Markup:
    """Name a recipe with its line and marker."""
    color = colors(comparison)[recipe]
    sign = el(
        "svg", marker(color % MARKERS, 7, 7, 4.5, ink(color)), viewBox="0 0 14 14", class_="key", aria_hidden="true"
    )
    return el("span", sign, recipe)


def results(comparison: Comparison) -> Markup:
    """Tabulate each recipe: final mIoU and mean curve height by split, cost and time, means over seeds."""
    head = ["recipe", "seeds", "labelled"]
    for split in comparison.splits:
        head += [f"{split} {comparison.quality}", f"{split} AUC"]
    head += ["clicks", "labelling", "wall time"]
    rows = []
    for group in comparison.groups:
        row: list[str | Markup] = [
            key(group.recipe, comparison),
            _seeds(group),
            percent(group.spent("regions_fraction")),
        ]
        for split in comparison.splits:
            row += [_spread(list(group.values(split, measure).values())) for measure in ("final", "auc")]
        row += [*costs.clicks_and_time(group)]
        row.append(duration(_mean([run["wall_seconds"] for run in group.runs])))
        rows.append(row)
    where = "at the final budget" if comparison.over is None else f"at equal {costs.cost(comparison.over).title}"
    return table(head, rows, f"Results {where}")


def _seeds(group: Group) -> str:
    return ", ".join(str(run["seed"]) for run in group.runs)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _spread(values: Sequence[float]) -> str | Markup:
    if not values:
        return ABSENT
    each = " · ".join(miou(value) for value in values)
    return el("td", el("b", miou(float(np.mean(values)))), el("small", each) if len(values) > 1 else None)


def differences(found: Sequence[Difference], quality: str, where: str = "at equal budget") -> Markup:
    """Tabulate paired differences, with every seed and the interval."""
    rows = []
    for one in found:
        measure = f"final {quality}" if one.measure == "final" else "AUC (mean height)"
        each = ", ".join(
            f"{signed(value)} (seed {seed})" for value, seed in zip(one.differences, one.seeds, strict=True)
        )
        rows.append(
            [f"{one.recipe} − {one.baseline}", f"{one.split} {measure}", el("b", signed(one.mean)), interval(one), each]
        )
    return table(["pair", "measure", "mean", "95 % interval", "by seed"], rows, f"Paired differences {where}")


def interval(one: Difference) -> str:
    """Write the interval of a difference, or why there is none."""
    if one.interval is None:
        return "one seed: none"
    return f"{signed(one.interval[0])} … {signed(one.interval[1])}"


def per_class(comparison: Comparison, split: str, names: Sequence[str]) -> Markup | None:
    """Return the IoU of every class in the final round, mean over seeds, shaded by value; the best of a row in bold."""
    columns = []
    for group in comparison.groups:
        found = [run["rounds"][-1].get(split) for run in group.runs if run["rounds"]]
        values = [[math.nan if v is None else float(v) for v in one["iou"]] for one in found if one]
        if values:
            columns.append((group, [_nanmean([row[c] for row in values]) for c in range(len(values[0]))]))
    if not columns:
        return None
    rows: list[list[str | Markup]] = []
    for index in range(len(columns[0][1])):
        values_here = [column[index] for _, column in columns]
        best = max((v for v in values_here if not math.isnan(v)), default=math.nan)
        cells = [_shaded(value, len(columns) > 1 and value == best) for value in values_here]
        rows.append([names[index], *cells])
    return table(["class", *[group.short for group, _ in columns]], rows, f"{split} IoU by class, final round")


def _nanmean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return mean_and_interval(known)[0] if known else math.nan


def _shaded(value: float, best: bool) -> Markup:
    if math.isnan(value):
        return el("td", ABSENT)
    text = el("b", miou(value)) if best else miou(value)
    return el("td", text, style=f"--v:{100 * value:.0f}%", class_="heat")


def rounds(run: RunReport) -> Markup:
    """Tabulate each round: regions labelled, cost, quality of the model, seconds of each step."""
    splits = [s for s in ("val", "test") if any(split_quality(one, s) is not None for one in run.measured)]
    head = ["round", "regions", "share", "images", "pixels", "clicks", "clicks*", "labelling"]
    names = {split: [name for name, _ in qualities(run.measured[-1], split)] or ["mIoU"] for split in splits}
    head += [f"{split} {name}" for split in splits for name in names[split]] + list(STEPS) + ["selection"]
    versions = any("data_version" in one for one in run.measured)
    if versions:
        head.insert(1, "data")
    rows = []
    for one in run.measured:
        row: list[str | Markup] = [
            str(one["round"]),
            *([f"version {one['data_version']}" if "data_version" in one else ABSENT] if versions else []),
            f"{one['regions_labelled']:,}",
            percent(one["regions_fraction"], 2),
        ]
        row += [f"{one['images_touched']:,}", count(one["pixels_labelled"]), count(one["clicks"])]
        row += [count(one["clicks_without_undefined"]), duration(one["labelling_seconds"])]
        found = {split: dict(qualities(one, split)) for split in splits}
        row += [miou(found[split].get(name)) for split in splits for name in names[split]]
        row += [f"{one['timings'].get(step, 0.0):.1f}" for step in STEPS]
        row.append(el("code", str(one["selection_sha256"])[:8], title=str(one["selection_sha256"])))
        rows.append(row)
    return table(head, rows, f"{run.recipe}, seed {run.seed}: every round (budgets are totals so far)", tight=True)


def batches(run: RunReport) -> Markup | None:
    """Tabulate each round's batch: its composition, and how far apart its regions lie; None where no summary has it."""
    known = [(one["round"], one["batch"]) for one in run.measured if one.get("batch")]
    if not known:
        return None
    most = len((run.summary.get("dataset") or {}).get("classes") or ())
    rows = []
    for round_, found in known:
        distance, entropy = found["distance"] or {}, found["class_entropy"]
        ratio = distance.get("ratio")
        rows.append(
            [
                str(round_),
                f"{found['regions']:,}",
                f"{found['images']:,}",
                ABSENT if found["sequences"] is None else f"{found['sequences']:,}",
                f"{found['classes']}",
                ABSENT if entropy is None else f"{entropy:.2f}",
                ABSENT if ratio is None else f"×{ratio:.2f}",
                f"{distance['candidates']:,} in {distance['dimensions']}-D" if distance else ABSENT,
            ]
        )
    nats = f"class entropy (of {math.log(most):.2f})" if most > 1 else "class entropy"
    head = ["round", "regions", "images", "sequences", "classes", nats, "distance", "candidates"]
    return table(head, rows, f"{run.recipe}, seed {run.seed}: the choice of each round", tight=True)


def targets(comparison: Comparison) -> Markup | None:
    """Return the published values beside the measured ones; None where no recipe has any for these data."""
    rows: list[list[str | Markup]] = []
    for group in comparison.groups:
        for name, value in published(group.runs[0]).items():
            split, _, measure = name.partition("_")
            if measure in ("miou", "accuracy"):
                found = list(group.values(split, "final").values())
            else:
                at = (costs.at_budget(run, split, measure) for run in group.runs)
                found = [one for one in at if one is not None]
            mean = _mean(found)
            gap = signed(mean - float(value)) if mean is not None else ABSENT
            measured = f"{miou(mean)} ({len(found)} seed{'s' if len(found) != 1 else ''})" if found else ABSENT
            rows.append([key(group.recipe, comparison), name, miou(float(value)), measured, gap])
    return (
        table(["recipe", "measure", "published", "measured", "difference"], rows, "Published and measured")
        if rows
        else None
    )
