#!/usr/bin/env bash
# From nothing to the table of none, decoder and three-way: set-up, then python -m scripts.quickstart.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh recipes
exec .venv/bin/python -m scripts.quickstart "$@"
