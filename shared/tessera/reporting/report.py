"""The HTML report of one run or of a comparison: one file, nothing loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tessera.reporting import charts, costs, pseudo_labels, tables, training
from tessera.reporting.compare import Comparison, checkpoint, compare, differing_versions
from tessera.reporting.data import ReportData, RunReport
from tessera.reporting.findings import finding, tiles
from tessera.reporting.markup import Markup, el
from tessera.reporting.pictures import picture
from tessera.reporting.style import CSS

MAX_PICTURES = 6
"""Images shown of one round of one run."""

# Nothing may be loaded or run: the page is data, and a name in it must never become code.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

Section = tuple[str, str, Markup]


def render(report: ReportData) -> str:
    """Return a complete HTML page; all names are escaped, images are embedded, no script.

    BadInput: no runs, or runs that must not be compared (see ``compare``).
    """
    comparison = compare([run.summary for run in report.runs], report.over)
    sections = [section for section in _sections(report, comparison) if section is not None]
    links = el("nav", [el("a", title, href=f"#{anchor}") for anchor, title, _ in sections], aria_label="Contents")
    body = [el("section", el("h2", title, id=anchor), content) for anchor, title, content in sections]
    lead = el("p", report.description, class_="lead") if report.description else None
    main = el("main", el("header", el("h1", report.title), lead, _facts(report), links),
              tiles(comparison), finding(comparison), body)  # fmt: skip
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("title", report.title),
        el("style", Markup(CSS)),
    )
    return "<!doctype html>\n" + el("html", head, el("body", main), lang="en") + "\n"


def _sections(report: ReportData, comparison: Comparison) -> Sequence[Section | None]:
    return (
        ("curves", "Learning curves", _curves(comparison)),
        ("results", "Results and cost", _results(comparison)),
        _published(comparison),
        _classes(report, comparison),
        _chosen(report, comparison),
        _pictures(report),
        pseudo_labels.section(report.runs),
        _batches(report),
        _training(report),
        _embeddings(report),
        ("rounds", "Rounds", _rounds(report)),
        ("provenance", "Provenance", _provenance(report, comparison)),
    )


def _facts(report: ReportData) -> Markup:
    first = report.runs[0].summary
    dataset = first.get("dataset")
    facts: dict[str, str] = {}
    if isinstance(dataset, Mapping):
        splits = ", ".join(f"{size} {name}" for name, size in (dataset.get("splits") or {}).items())
        facts["Data set"] = f"{dataset.get('name')} ({splits}; {len(dataset.get('classes') or ())} classes)"
    pool = first.get("pool")
    if isinstance(pool, Mapping):
        facts["Pool"] = f"{pool.get('regions', 0):,} regions in {pool.get('images', 0):,} images"
    facts["Checkpoint"] = checkpoint(first)
    if versions := [str(one["data_version"]) for one in first.get("rounds", ()) if "data_version" in one]:
        facts["Versions of the data set"] = f"by round: {', '.join(versions)}"
        if differ := differing_versions([run.summary for run in report.runs]):
            facts["Versions of the data set"] = differ
    facts.update(report.facts)
    return el("dl", [Markup(el("dt", name) + el("dd", value)) for name, value in facts.items()])


def _curves(comparison: Comparison) -> Markup:
    legend = el("div", [tables.key(group.recipe, comparison) for group in comparison.groups], class_="legend")
    several = any(len(group.runs) > 1 for group in comparison.groups)
    note = el("p", "Bold: mean over seeds. Faint: each seed." if several else "One seed.", class_="note")

    first = comparison.over or "percent"
    others = [name for name in ("percent", "clicks", "seconds", "pixels", "images") if name != first]
    runs = [run for group in comparison.groups for run in group.runs]
    if all("measured_seconds" in one for run in runs for one in run["rounds"]):
        others += ["measured_clicks", "measured_seconds"]

    def pair(budget: str) -> Markup:
        cards = [el("div", charts.learning_curve(comparison, s, budget), class_="card") for s in comparison.splits]
        return el("div", cards, class_="pair")

    more = el(
        "details",
        el("summary", "The same against clicks, labelling time, pixels and images"),
        [part for name in others for part in (pair(name), el("p", Markup("&nbsp;")))],
    )
    return Markup(legend + note + pair(first) + more)


def _results(comparison: Comparison) -> Markup:
    parts = [tables.results(comparison)]
    if comparison.differences:
        where = "at equal budget" if comparison.over is None else f"at equal {costs.cost(comparison.over).title}"
        parts.append(tables.differences(comparison.differences, comparison.quality, where))
    parts.append(
        el(
            "p",
            f"{_read(comparison)} Small figures are the single seeds. "
            "Intervals are Student's t over the seeds. Clicks on masks follow the polygon cost model, a set of classes "
            "costs one for each; labelling time is a model, not a measurement.",
            class_="note",
        )
    )
    return Markup("".join(parts))


def _read(comparison: Comparison) -> str:
    if comparison.over is None:
        return "AUC is the mean height of the curve over the budget range it covers."
    where = costs.spans(comparison.over, comparison.spans, comparison.quality)
    return f"Read at equal cost ({costs.cost(comparison.over).title}): {where}."


def _published(comparison: Comparison) -> Section | None:
    content = tables.targets(comparison)
    lists = []
    for group in comparison.groups:
        deviations = list(group.runs[0].get("deviations") or ())
        if deviations:
            lists.append(el("h3", f"How {group.recipe} differs from the paper"))
            lists.append(el("ul", [el("li", str(line)) for line in deviations]))
    if content is None and not lists:
        return None
    return "published", "Against the paper", Markup((content or "") + "".join(lists))


def _classes(report: ReportData, comparison: Comparison) -> Section | None:
    names = charts.class_names(report)
    found = [part for split in comparison.splits if (part := tables.per_class(comparison, split, names))]
    return ("classes", "IoU by class", el("div", found, class_="pair")) if found else None


def _chosen(report: ReportData, comparison: Comparison) -> Section | None:
    chart = charts.class_shares(report, comparison)
    if chart is None:
        return None
    arms = [group for group in comparison.groups if not group.reference]
    legend = el(
        "div",
        [tables.key(group.recipe, comparison) for group in arms],
        el("span", el("i", class_="tick-key"), "share in regions drawn at random"),
        class_="legend",
    )
    note = el(
        "p",
        "Pixels of each class in the answers after the first round, counted from the answers alone: no unlabelled "
        "truth is read. ×2 means that a class was chosen twice as often as random drawing meets it.",
        class_="note",
    )
    return "chosen", "What was chosen, by class", Markup(note + legend + el("div", chart, class_="card"))


def _training(report: ReportData) -> Section | None:
    found = [part for part in (training.speeds(report), training.losses(report)) if part is not None]
    return ("training", "Training", Markup("".join(found))) if found else None


def _pictures(report: ReportData) -> Section | None:
    runs = [run for run in report.runs if any(one.drawings for one in run.rounds)]
    if not runs:
        return None
    most = min(MAX_PICTURES, max(len(one.drawings) for run in runs for one in run.rounds))
    legend = el(
        "p",
        el("i", class_="photo-key"),
        f"chosen region, with its rank in the round (1 = first choice). Up to {most} images per round.",
        class_="note",
    )
    opened = {run.recipe: run for run in reversed(runs)}
    return (
        "regions",
        "Chosen regions",
        Markup(legend + "".join(_gallery(run, opened[run.recipe] is run) for run in runs)),
    )


def _gallery(run: RunReport, opened: bool) -> Markup:
    parts = []
    for one in run.rounds:
        if one.drawings:
            parts.append(el("h3", f"Round {one.round}" + (" (start)" if one.round == 0 else "")))
            parts.append(el("div", [picture(drawing) for drawing in one.drawings[:MAX_PICTURES]], class_="gallery"))
    summary = el("summary", f"{run.recipe}, seed {run.seed}")
    return el("details", summary, parts, open="" if opened else None)


def _batches(report: ReportData) -> Section | None:
    found = [part for run in report.runs if (part := tables.batches(run))]
    if not found:
        return None
    note = el(
        "p",
        "How similar are the regions of a round? Distance: mean distance between two chosen regions in the embedding, "
        "as a multiple of a random batch of equal size from the same candidates; well below 1 the choice is crowded "
        "(mode collapse). Class entropy: of the classes that the answers name, each class of an answer counted once; "
        "0 nats where all name the same.",
        class_="note",
    )
    return "batches", "How alike the chosen are", Markup(note + "".join(found))


def _embeddings(report: ReportData) -> Section | None:
    parts = []
    for run in report.runs:
        figures = charts.embeddings(run)
        if figures:
            parts.append(el("h3", f"{run.recipe}, seed {run.seed}"))
            parts.append(el("div", figures, class_="scatters"))
    if not parts:
        return None
    note = el(
        "p",
        "Candidates of each round in the plane of their embedding; diamonds are the chosen ones, rings were labelled "
        "before; the faint dots behind them are the pool, where the projection was fitted on it. Of many points "
        f"{charts.POINTS_SHOWN:,} are drawn.",
        class_="note",
    )
    return "embedding", "Candidates and choice", Markup(note + "".join(parts))


def _rounds(report: ReportData) -> Markup:
    note = el(
        "p",
        "clicks*: without the clicks on undefined pixels. score … evaluate: wall seconds of each step.",
        class_="note",
    )
    return Markup(note + "".join(tables.rounds(run) for run in report.runs))


def _provenance(report: ReportData, comparison: Comparison) -> Markup:
    parts = []
    for group in comparison.groups:
        axes = json.dumps(group.runs[0].get("axes") or {}, indent=2, ensure_ascii=False)
        parts.append(el("details", el("summary", f"{group.recipe}: all parameters"), el("pre", el("code", axes))))
    versions = {name: str(v) for run in report.runs for name, v in (run.summary.get("versions") or {}).items()}
    runs = ", ".join(f"{run.summary['run']}" for run in report.runs)
    facts = {"Runs": runs, "Versions": ", ".join(f"{name} {version}" for name, version in versions.items())}
    parts.append(el("dl", [Markup(el("dt", name) + el("dd", value)) for name, value in facts.items() if value]))
    return Markup("".join(parts))
