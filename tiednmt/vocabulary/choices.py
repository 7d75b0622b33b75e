"""The choices of the options; standard library only, so that ``--help`` is fast."""

from __future__ import annotations

STARTS = PARTS, UNKNOWN, RANDOM, VECTORS = "parts", "unk", "random", "vectors"  # of new rows
SIDES = BOTH, SOURCE, TARGET = "both", "source", "target"  # which dictionary gets new units
ORIGINS = FROM_INPUT, FROM_OUTPUT, MEAN = "input", "output", "mean"  # of rows that become one
