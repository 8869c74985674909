"""Tell the user what a finished run found and where its files are."""

from __future__ import annotations

from pathlib import Path

from tessera.cli.output import say


def report(out: Path) -> None:
    """Print the curve with one line per round, the published targets, and the files."""
    from tessera.cli.compare import read
    from tessera.reporting.numbers import published, qualities

    summary = read(out)
    targets = published(summary)
    say(f"{summary['run']}: {len(summary['rounds'])} rounds in {summary['wall_seconds']:.0f} s")
    for entry in summary["rounds"]:
        measured = "  ".join(
            f"{split} {name} {value:.3f}"
            for split in ("val", "test")
            for name, value in qualities(entry, split)
            if value is not None
        )
        labelled = f"{entry['regions_labelled']} regions ({100 * entry['regions_fraction']:.1f}%)"
        say(f"  round {entry['round']:>2}  {labelled:<24} {entry['clicks']:>7} clicks  {measured}")
        for note in entry.get("notes") or ():
            say(f"            {note}")
    if targets:
        say("  published: " + ", ".join(f"{name} {value}" for name, value in sorted(targets.items())))
    for name in ("summary.json", "selections", "report.html"):
        if (out / name).exists():
            say(f"  {out / name}")
