#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: build, validate every op on the device, pin the emulator's models of mma.sync and ldmatrix to the
# hardware, time every kernel beside cuDNN and cuBLAS, and write bench/results/gpu-<device>-<date>.json. Takes under 8 minutes.
#   bench/gpu.sh [seconds]      PYTHON names an interpreter that has torch, CuPy and NumPy (default: python3)
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
SECONDS_IN_ALL=${1:-460}
"$PYTHON" -c 'import torch, cupy, numpy; assert cupy.cuda.is_available(), "no CUDA device"'
# the CPU kernels are only the door here: one instruction set is enough
export PYOPS_BUILD_ISAS=${PYOPS_BUILD_ISAS:-avx2,scalar}
"$PYTHON" -m pip install --quiet --no-deps --no-build-isolation --no-index --editable . 2>/dev/null \
  || "$PYTHON" -m pip install --quiet --no-deps --no-build-isolation --no-index --break-system-packages --editable .
exec "$PYTHON" -m pyops.bench.gpu --seconds "$((SECONDS_IN_ALL - SECONDS))"
