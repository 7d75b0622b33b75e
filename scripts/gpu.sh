#!/usr/bin/env bash
# Prove on a GPU what only a GPU can prove, in parts of a few minutes: scripts/gpu.sh PART [options]
#
#   scripts/gpu.sh wheels --wheels DIR        where there is a network: what a bare machine lacks
#   scripts/gpu.sh check --wheels DIR         on the machine with the GPU, which needs python3 with a
#   scripts/gpu.sh speed --wheels DIR …       torch for its card, and no network
#
# PYTHON names the interpreter (default: python3). Environments, records and logs lie in runs/gpu, or
# in the folder that --out names. The same command again resumes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

die() {
    echo "scripts/gpu.sh: error: $*" >&2
    exit 1
}

[[ $# -gt 0 && $1 != -* ]] || {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
}
part=$1
shift
wheels= out=runs/gpu rest=()
while (($#)); do
    case $1 in
    --wheels) wheels=${2:?--wheels DIR} && shift 2 ;;
    --out) out=${2:?--out DIR} && shift 2 ;;
    *) rest+=("$1") && shift ;;
    esac
done

if [[ $part == wheels ]]; then
    [[ $wheels ]] || die "wheels: needs --wheels DIR"
    # TARGET_PYTHON is the GPU machine's; what has no wheel (antlr4) is built here, being plain Python
    mkdir -p "$wheels"
    target=${TARGET_PYTHON:-3.12}
    "$python" -m pip wheel -q --no-deps -w "$wheels" -c constraints.txt antlr4-python3-runtime
    # with its kernels for a CPU, whose compilation takes a minute there
    [[ $("$python" -V) == "Python $target."* ]] && "$python" -m pip wheel -q --no-deps -w "$wheels" .
    "$python" -m pip download -q --no-deps --only-binary=:all: -d "$wheels" -c constraints.txt \
        --python-version "$target" --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 \
        bitarray cffi colorama cython fairseq-fixed hydra-core lxml omegaconf portalocker \
        execnet pytest pytest-xdist sacrebleu sacremoses sentencepiece subword-nmt tabulate tensorboardX \
        liger-kernel cut-cross-entropy  # other output layers, to compare with
    du -sh "$wheels"
    exit
fi

"$python" -c 'import torch' 2>/dev/null || die "$python has no torch; PYTHON names one that has"
site=$out/site
if [[ $wheels && ! -e $site/installed ]]; then
    [[ -d $wheels ]] || die "--wheels $wheels: no such folder"
    # the package itself for its version and its compiled kernels; the rest of what runs is this tree
    compgen -G "$wheels/tiednmt-*.whl" >/dev/null && itself=() || itself=(.)
    "$python" -m pip install -q --disable-pip-version-check --no-index --no-deps --no-compile \
        --no-build-isolation --upgrade --target "$site" "$wheels"/*.whl "${itself[@]}"
    find "$site/tiednmt/kernels" -name '_cpu*.so' -exec cp {} tiednmt/kernels/ \;
    touch "$site/installed"
fi
if [[ -d $site ]]; then
    site=$(cd "$site" && pwd)
    export PYTHONPATH=$PWD:$site${PYTHONPATH:+:$PYTHONPATH}
fi
exec "$python" -m scripts.gpu "$part" --out "$out" "${rest[@]}"
