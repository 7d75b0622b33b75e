#!/usr/bin/env bash
# Lines of tiednmt that the fast tests run, and whether they are as many as they must be.
# Arguments go to pytest; --report judges what was measured before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# what everything else stands on has a floor of its own, in percent
floors=(
    "tiednmt/* 90"
    "tiednmt/tying.py 95"
    "tiednmt/modules/* 90"
    "tiednmt/search/* 93"
    "tiednmt/text/* 92"
    "tiednmt/vocabulary/* 95"
)

if [[ ${1:-} != --report ]]; then
    scripts/pytest.sh -m "not slow" --cov --cov-report= "$@"
fi
python -m coverage report --skip-covered --sort=cover | tail -n 40
below=0
for floor in "${floors[@]}"; do
    read -r part percent <<<"$floor"
    total=$(python -m coverage report --include "$part" --format total --precision 1)
    printf '%-24s %5s %%, floor %s %%\n' "$part" "$total" "$percent"
    python -m coverage report --include "$part" --format total --fail-under "$percent" >/dev/null ||
        below=1
done
exit $below
