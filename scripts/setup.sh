#!/usr/bin/env bash
# Make or reuse .venv in the repository root: scripts/setup.sh recipes|dev
#
# Called by quickstart.sh (recipes) and test.sh (dev). PYTHON names the interpreter (default: the
# first of python3, python3.13 … python3.10 that serves), CONSTRAINTS a file of versions (default:
# constraints.txt). pip's own PIP_* variables are honoured.
set -euo pipefail

extra=${1:?usage: scripts/setup.sh recipes|dev}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
log=$venv/setup.log
constraints=$(cd "$(dirname "${CONSTRAINTS:-$root/constraints.txt}")" && pwd)/$(basename "${CONSTRAINTS:-constraints.txt}")

say() { echo "set-up: $*" >&2; }
die() {
    say "error: $*"
    exit 1
}

# Held until this process ends, so that two calls at once make one .venv.
exec 9<"${BASH_SOURCE[0]}"
if command -v flock >/dev/null && ! flock --nonblock 9; then
    say "waiting for another set-up of $root"
    flock 9
fi

# The stamp is written last: for which folder, which versions and which extra the .venv is ready.
ours=$venv/made-by-setup
stamp=$venv/ready-for
# A change of the kernels compiles them anew.
versions=$({
    cat "$root/pyproject.toml" "$constraints" "$root/scripts/setup.sh"
    cat "$root/tiednmt/kernels/cpu.cpp" 2>/dev/null || true
} | cksum)

supported() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.10; do
        if supported "$candidate"; then
            # The interpreter beneath any activated environment, which may be the .venv itself.
            "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
            return
        fi
        [[ -z ${PYTHON:-} ]] || break
    done
    die "needs Python 3.10 to 3.13, and ${PYTHON:-python3} is $("${PYTHON:-python3}" -V 2>&1 || true); set PYTHON=/path/to/python3.x"
}

version_of() { "$1" -c 'import sys; print(*sys.version_info[:2], sep=".")' 2>/dev/null; }

if [[ -e $venv && ! -e $ours ]]; then
    die "$venv was not made by this script; move it away and run the same command again"
fi

# A moved, unfinished or broken .venv, or one of another Python than PYTHON, is made anew.
keep=
if [[ -e $stamp ]] && supported "$venv/bin/python"; then
    { read -r stamp_root && read -r stamp_versions && read -r stamp_extra; } <"$stamp"
    if [[ $stamp_root == "$root" &&
        (-z ${PYTHON:-} || $(version_of "$PYTHON") == "$(version_of "$venv/bin/python")") ]]; then
        keep=yes
        # dev holds all that recipes does
        if [[ $stamp_versions == "$versions" && ($stamp_extra == dev || $stamp_extra == "$extra") ]]; then
            exit 0
        fi
    fi
fi

python=$(find_python)
command -v "${CXX:-c++}" >/dev/null || die "needs a C++ compiler to build fairseq; install one (Debian: apt install g++) or set CXX"
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    die "needs the headers of $python to build fairseq; install them (Debian: apt install python3-dev)"

step() {
    local title=$1 started=$SECONDS
    shift
    say "$title"
    if ! "$@" >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "failed: $title; the whole log is $log. Run the same command again to go on"
    fi
    say "  done in $((SECONDS - started)) s"
}

# Not to bytecode: that is a third of the time, and most of it is for modules that nothing here imports.
pip_install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-compile -c "$constraints" "$@"
}

mkdir -p "$venv"
touch "$ours"
rm -f "$stamp"
if [[ -z $keep ]]; then
    say "$venv, empty, with Python $(version_of "$python")"
    find "$venv" -mindepth 1 -maxdepth 1 ! -path "$ours" -exec rm -rf {} +
    step "  its pip" "$python" -m venv "$venv"
fi

# Except for Python 3.12, fairseq comes as source, to be built against the torch installed here: pip's
# isolated build would fetch another torch. Its extensions are compiled two at a time (1.5 GB of memory
# each), which needs torch's use of ninja off (empty), and without debugging symbols: half of the time.
build_fairseq() {
    printf '[build_ext]\nparallel = 2\nuse_ninja =\n' >"$venv/build.cfg"
    DIST_EXTRA_CONFIG=$venv/build.cfg CFLAGS="-O1 -g0" CXXFLAGS="-O1 -g0" \
        pip_install --no-build-isolation --no-deps fairseq-fixed
}

step "torch, and what builds fairseq" pip_install torch numpy cython setuptools wheel
step "fairseq, compiled here where no wheel fits" build_fairseq
step "the rest" pip_install --no-build-isolation --editable "$root[$extra]"

# It keeps the bytecode of what it imports, whatever the environment says of that; a training's first
# optimizer imports torch._dynamo besides.
first_start() (
    unset PYTHONDONTWRITEBYTECODE
    "$venv/bin/fairseq-train" --user-dir "$root/tiednmt" --help &&
        "$venv/bin/python" -c "import torch._dynamo"
)
step "a first start" first_start

printf '%s\n' "$root" "$versions" "$extra" >"$stamp.part"
mv "$stamp.part" "$stamp"
say "ready in $SECONDS s"
