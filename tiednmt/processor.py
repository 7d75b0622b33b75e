"""What processor this machine has. Standard library only."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def is_amd() -> bool:
    """Whether AMD made it; no where the system does not tell."""
    return _fields(_CPUINFO).get("vendor_id") == "AuthenticAMD"


def processor_name() -> str:
    """The model's name, as records give it."""
    named = _fields(_CPUINFO).get("model name")
    return named or platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _fields(path: Path) -> Mapping[str, str]:
    """The fields of Linux's description of the first core; none on other systems."""
    try:
        first, _, _ = path.read_text(encoding="utf-8").partition("\n\n")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}
