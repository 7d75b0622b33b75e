#!/usr/bin/env bash
# Set-up, lint, types and all tests. Arguments go to pytest: scripts/test.sh -m 'not slow'
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh dev
PATH=$PWD/.venv/bin:$PATH
ruff check
ruff format --check
mypy
exec python -m pytest "$@"
