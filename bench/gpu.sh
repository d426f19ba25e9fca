#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, torch and CuPy: whether kernels run, whether they are right, how fast they are (docs/cuda.md).
#   gpu.sh BUNDLE --out DIR [more]   from `make gpu-bundle`'s archive: no compiler, no network
#   gpu.sh --out DIR [more]          from a checkout, which is built first
# more: --seconds 250, --stages smoke,integers, --match RE, ... (python -m pyops.bench.gpu run --help)
# Writes DIR/results.jsonl, a line a result, as they come, and DIR/report.txt. PYTHON names the interpreter (default: python3).
set -euo pipefail
PYTHON=${PYTHON:-python3}
BUNDLE=""
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then BUNDLE=$(readlink -f "$1"); shift; fi
OUT=""
for ((i = 1; i < $#; i++)); do if [ "${!i}" = --out ]; then j=$((i + 1)); OUT=${!j}; fi; done
[ -n "$OUT" ] || { echo "gpu.sh: --out DIR is missing" >&2; exit 2; }
mkdir -p "$OUT"
OUT=$(readlink -f "$OUT")
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
# headers for what has to be compiled here after all
if [ -z "${CUDA_PATH:-}" ] && NVCC=$(command -v nvcc); then
    CUDA_PATH=$(dirname "$(dirname "$(readlink -f "$NVCC")")")
    export CUDA_PATH CUDA_HOME=${CUDA_HOME:-$CUDA_PATH}
fi
if [ -n "$BUNDLE" ]; then
    SCRATCH=${PYOPS_SCRATCH:-$OUT/scratch}
    mkdir -p "$SCRATCH"
    rm -rf "$SCRATCH/site" "$SCRATCH"/*.whl
    mkdir "$SCRATCH/site"
    # not tar: xz may be missing, and files that it unpacks for root keep the owner whom a cache does not trust
    "$PYTHON" -m tarfile --filter data -e "$BUNDLE" "$SCRATCH"
    chmod -R go-w "$SCRATCH/cache"
    "$PYTHON" -c 'import sys, pathlib; w = next(pathlib.Path(sys.argv[1]).glob("*.whl")).name; have = "cp%d%d" % sys.version_info[:2]
sys.exit(f"gpu.sh: {w} is for another Python than this one ({have})" if f"-{have}-" not in w else 0)' "$SCRATCH"
    "$PYTHON" -m zipfile -e "$SCRATCH"/*.whl "$SCRATCH/site"
    export PYTHONPATH="$SCRATCH/site${PYTHONPATH:+:$PYTHONPATH}" PYOPS_CACHE="$SCRATCH/cache" CUPY_CACHE_DIR="$SCRATCH/cupy"
    PYOPS_COMMIT=$(cat "$SCRATCH/commit.txt")
    export PYOPS_COMMIT
    cd "$SCRATCH"   # a folder with no pyops/ in it
else
    cd "$(dirname "$0")/.."
    # the CPU kernels are only the door here: one instruction set is enough
    export PYOPS_BUILD_ISAS=${PYOPS_BUILD_ISAS:-avx2}
    "$PYTHON" setup.py --quiet build_ext --inplace
fi
STATUS=0
"$PYTHON" -m pyops.bench.gpu run "$@" --out "$OUT" || STATUS=$?
"$PYTHON" -m pyops.bench.gpu report "$OUT" | tee "$OUT/report.txt"
exit "$STATUS"
