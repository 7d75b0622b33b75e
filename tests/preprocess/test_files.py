"""How many files may be open, as the system allows."""

import resource
import subprocess
import sys

import pytest

CODE = """
import resource, sys
from preprocess.files import may_open
from tiednmt.errors import one_line_errors
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
one_line_errors(may_open)(int(sys.argv[1]), "choose fewer --parts")
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("count", "soft"), [(10, 100), (120, 184)])
def test_the_limit_is_raised_where_it_must_be(count, soft):
    found = subprocess.run([sys.executable, "-c", CODE, str(count)], capture_output=True, text=True)
    assert found.stdout == f"({soft}, 200)\n"


def test_more_than_the_system_allows():
    command = [sys.executable, "-c", CODE, "1000"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 1
    assert found.stderr == (
        "error: 1,000 files have to be open at a time, more than the system allows; choose fewer"
        " --parts\n"
    )


def test_parts_beyond_the_usual_limit(tmp_path):
    """Two files are open for each part of a training text."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = """
import resource, sys
from pathlib import Path
from preprocess.reading import read_pairs
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
parts = [[Path(sys.argv[1]) / f"{i}.{side}" for side in "ab"] for i in range(80)]
print(read_pairs((("x", "y") for _ in range(160)), parts, lambda counts: None)["parts"] == [2] * 80)
"""
    if before[1] != resource.RLIM_INFINITY and before[1] < 300:
        pytest.skip("the system allows too few open files")
    command = [sys.executable, "-c", code, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.stdout == "True\n", found.stderr
