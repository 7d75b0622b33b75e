#!/usr/bin/env bash
# Set-up, lint, types, arrows between packages, the site and all tests but the nightly ones. Arguments
# go to pytest: scripts/test.sh -m 'not slow'
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh dev
PATH=$PWD/.venv/bin:$PATH
unset PYTHONDONTWRITEBYTECODE # hundreds of processes import the same modules
ruff check
ruff format --check
clang-format --dry-run --Werror tiednmt/kernels/*.cpp
mypy
lint-imports --no-cache --no-logo
# the site's tools need Python 3.11
if python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict
fi
exec scripts/pytest.sh "$@"
