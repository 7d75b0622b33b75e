"""What a process held at most."""

import re
import resource
import sys
from pathlib import Path


def peak_of_memory() -> int:
    """Kilobytes that this process held at most so far.

    Linux's ``ru_maxrss`` counts what the process held that started this one, too.
    """
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])
