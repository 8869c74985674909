"""Reporting: runs as one self-contained HTML page, and as text for a terminal. Pure: values in, strings out."""

from __future__ import annotations

from tessera.reporting.compare import Comparison, Difference, compare
from tessera.reporting.curve import curve, table
from tessera.reporting.data import Drawing, DrawnRegion, LabelledPicture, ReportData, RoundReport, RunReport, Scatter
from tessera.reporting.findings import ranking
from tessera.reporting.report import render

__all__ = [
    "Comparison",
    "Difference",
    "Drawing",
    "DrawnRegion",
    "LabelledPicture",
    "ReportData",
    "RoundReport",
    "RunReport",
    "Scatter",
    "compare",
    "curve",
    "ranking",
    "render",
    "table",
]
