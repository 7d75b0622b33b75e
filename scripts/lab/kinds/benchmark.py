"""Benchmarks: two ways to do the same work, side by side."""

from __future__ import annotations

from scripts.lab.figures.benchmark import figures
from scripts.lab.kinds.kind import Kind
from scripts.lab.records import joining
from scripts.lab.records.schema import BenchmarkRecord

KIND = Kind(record=BenchmarkRecord, figures=figures, join=joining.newest)
