#!/usr/bin/env bash
# pytest on all cores, in the environment on PATH; arguments go to it. A file of tests to a process,
# since files share what is costly to make, in the order of tests/conftest.py; one thread each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OMP_NUM_THREADS=1 exec python -m pytest -n auto --dist loadfile --no-loadscope-reorder "$@"
