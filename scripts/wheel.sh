#!/usr/bin/env bash
# Build the wheel into build/wheel, install it apart from the clone, and test it there. It uses the
# environment's torch and fairseq, but not the clone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$PWD/build/wheel
rm -rf "$out"
python -m pip wheel -q --no-deps --no-build-isolation --wheel-dir "$out" .
python -m pip install -q --no-deps --target "$out/installed" "$out"/*.whl
cd "$out"
export PYTHONPATH=$out/installed
python - <<'EOF'
from pathlib import Path

import tiednmt
import tiednmt.plugin
from tiednmt.kernels import cpu

assert Path(tiednmt.__file__).is_relative_to(Path("installed").resolve()), tiednmt.__file__
assert [*Path("installed/tiednmt/kernels").glob("_cpu*")], "the kernels were not compiled"
EOF
installed/bin/tiednmt --version
for command in translate evaluate serve export inspect analyse vocabulary; do
    installed/bin/tiednmt "$command" --help >/dev/null
done
# fairseq finds the plugin by the path that the command prints
python -m fairseq_cli.train --user-dir "$(installed/bin/tiednmt path)" --help 2>/dev/null |
    grep -q tied_cross_entropy
ls -l "$out"/*.whl
