# make test, make bench: each sets everything up on a fresh machine (a venv, the build, what it needs) and then runs.
#
#   make check    lint, types, layers, formats: under a minute    make quick        minutes: some of every kind of test
#   make test     what every change must pass                     make test-slow    more of the same, as CI runs it
#   make test-all everything, minutes and gigabytes included      make gpu-try    what a machine with a GPU would run, without one
#   make matrix   builds and tries every Python that is here      make wheel-sizes  what takes space in a wheel
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: nvrtc gpu-bundle gpu-dry-run gpu-packing gpu-try fuzz soak test test-slow test-all quick check check-cpp links matrix bench bench-nets zoo build sanitize valgrind sanitize-emulator sdist wheel \
        wheel-sizes clean

# torch is named first and exactly: an open range would bring the CUDA build.
$(VENV)/.test: pyproject.toml setup.py
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) "setuptools>=80" wheel "pybind11>=3.0"
	$(PIP) --no-build-isolation --editable ".[test]"
	$(PIP) --no-deps torchvision==0.28.0 timm==1.0.31  # models in Python only: with dependencies they would bring another build of torch
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP) --no-build-isolation --editable ".[bench]"
	touch $@

build: $(VENV)/.test links
	$(PY) setup.py --quiet build_ext --inplace

# pyops/ imports kernels/ and bench/ from beside it (pyops/_checkout.py); editors and type checkers want to see them inside.
links:
	ln -sfn ../kernels pyops/kernels
	ln -sfn ../bench pyops/bench

# Two processes, a file of tests to each in turn: a gigabyte of memory apiece. A skipped test that tests/skips.txt does not expect
# fails the run.
WORKERS ?= 2
PYTEST  := $(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile --skips tests/skips.txt
test: build
	$(PYTEST) -m "not slow and not full"

test-slow: build nvrtc
	$(PYTEST) -m slow

test-all: build nvrtc
	$(PYTEST)

quick: build
	$(PYTEST) -m quick

# What .pre-commit-config.yaml runs, over the whole tree.
check: $(VENV)/.test links
	$(BIN)/ruff check .
	$(PY) tests/checks/prose.py
	$(PY) tests/checks/cpp_format.py
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/vulture

bench: $(VENV)/.bench build
	$(PY) -m pyops bench --html bench/results/report.html
	$(PY) -m pyops train lenet5

# Whole networks beside every peer, torch.compile among them: about an hour the first time, less once inductor's cache is filled.
bench-nets: $(VENV)/.bench build
	$(PY) -m pyops bench --net all --json build/networks.json --html bench/results/networks.html

# Every classification and segmentation model of torchvision, compiled and compared with torch.
zoo: build
	$(PY) -m pyops.bench.zoo

# Every case of every row on every instruction set, with the address and undefined-behaviour sanitizers compiled in.
SANITIZED := build/sanitized
sanitize: build
	PYOPS_BUILD_DIR=$(SANITIZED) PYOPS_CXXFLAGS="-O1 -g1 -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined" \
	  $(PY) setup.py --quiet build --build-base $(SANITIZED)/base --build-lib $(SANITIZED)/lib
	cd $(SANITIZED)/lib && LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	  $(CURDIR)/$(PY) -m pyops validate

# The same under valgrind, on the instruction sets it knows (it has no AVX-512).
valgrind: build
	PYTHONMALLOC=malloc PYOPS_POOL_BYTES=0 PYOPS_MAX_ISA=avx2 valgrind --error-exitcode=1 --errors-for-leak-kinds=none --suppressions=tests/valgrind.supp \
	  $(PY) -m pyops validate --backend avx2

# The CUDA emulator itself under both: its runtime and its models of instructions, and kernels that it runs unchecked. Undefined behaviour traps,
# because libubsan's handlers would take the place of the emulator's own.
EMULATOR_CACHE := $(CURDIR)/build/emulator
sanitize-emulator: build
	PYOPS_CACHE=$(EMULATOR_CACHE)-asan LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 \
	  PYOPS_EMULATOR_CXXFLAGS="-O1 -g1 -fsanitize=address,undefined -fno-sanitize=vptr -fsanitize-undefined-trap-on-error" \
	  $(PY) -m pytest -q -p no:cacheprovider tests/cuda/test_emulator.py tests/cuda/test_cuda_traffic.py tests/cuda/test_cuda_convolution.py
	PYTHONMALLOC=malloc PYOPS_MAX_ISA=avx2 PYOPS_CACHE=$(EMULATOR_CACHE)-valgrind PYOPS_EMULATOR_CXXFLAGS="-g1 -march=haswell" \
	  valgrind --error-exitcode=1 --errors-for-leak-kinds=none --suppressions=tests/valgrind.supp \
	  $(PY) -m pytest -q -p no:cacheprovider tests/cuda/test_emulator.py

# PYTHONS="python3.12 python3.13" names some, MATRIX="--isas scalar --no-tests" makes it short
matrix:
	$(PYTHON) tests/checks/matrix.py $(MATRIX) $(PYTHONS)

sdist: $(VENV)/.test
	$(PY) -m build --sdist --no-isolation

# New seeds for so many hours, or for one target; the tests run the same targets for seconds by fixed seeds. What fails is kept in build/fuzz.
HOURS ?= 1
fuzz: build
	PYTHONPATH=tests $(PY) -m fuzz --hours $(HOURS) $(TARGET)

# Threads, programs, forks, signals and limits together, for ten minutes.
soak: build
	PYTHONPATH=tests $(PY) -m fuzz.soak --minutes 10

wheel: build
	$(PY) -m build --wheel --no-isolation

wheel-sizes: wheel
	$(PY) tests/checks/wheel_sizes.py dist/*.whl

# One archive for a machine with a GPU, torch, CuPy and CPython 3.12 (bench/gpu.sh): the wheel, and machine code for compute capability 9.0 by the
# NVRTC of CUDA 13.0, whose drivers are the oldest that CuPy's wheels take. GPU_PYTHON=path names a python3.12; GPU_MATCH=RE packs the machine
# code of some files alone; GPU_EVERY=--every that of float16, too, which is else compiled where it is launched. Kernels' objects are those of `build`.
GPU_PYTHON ?= $(shell $(PYTHON) tests/checks/matrix.py --which 3.12)
GPU_MATCH  ?=
GPU_EVERY  ?=
GPU := build/gpu
$(GPU)/.python:
	$(GPU_PYTHON) -m venv $(GPU)/python
	$(GPU)/python/bin/pip install --quiet --disable-pip-version-check "setuptools>=80" wheel "pybind11>=3.0" "numpy>=2.0" ml_dtypes
	touch $@

$(GPU)/.nvrtc: $(VENV)/.test
	$(PIP) --no-deps --target $(GPU)/nvrtc-13.0 "nvidia-cuda-nvrtc==13.0.*" "nvidia-cuda-runtime==13.0.*" "nvidia-cuda-crt==13.0.*" "nvidia-cuda-cccl==13.0.*"
	touch $@

# a second NVRTC, beside the one that is installed: tests/cuda/test_nvrtc_versions.py
nvrtc: $(GPU)/.nvrtc

# $(call gpu_bundle,pip,folder): the machine code of the forms that are in the cache already is kept
define gpu_bundle
	rm -rf $(2)/wheel
	PYOPS_BUILD_ISAS=avx2 $(1) wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $(2)/wheel .
	$(PY) -W ignore -m pyops.cuda.budget --sm90 $(GPU_EVERY) --match "$(GPU_MATCH)" --nvrtc $(GPU)/nvrtc-13.0/nvidia/cu13 --cache $(GPU)/cache
	$(PY) -W ignore -m pyops.bench.gpu bundle $(2)/pyops-gpu.tar.xz $(GPU_EVERY) --match "$(GPU_MATCH)" --wheel $(2)/wheel/*.whl --cache $(GPU)/cache
endef

gpu-bundle: build $(GPU)/.python $(GPU)/.nvrtc
	$(call gpu_bundle,$(GPU)/python/bin/pip,$(GPU))

# bench/gpu.sh from that archive with stand-ins for CuPy and torch, in a Python that has NumPy and nothing else: no case may fail
DRY_RUN = PYTHONPATH=$(CURDIR)/tests/cuda/fake bash bench/gpu.sh
gpu-dry-run: gpu-bundle
	rm -rf $(GPU)/dry-run
	PYTHON=$(CURDIR)/$(GPU)/python/bin/python $(DRY_RUN) $(GPU)/pyops-gpu.tar.xz --out $(GPU)/dry-run --small --parts 1 --seconds 900 --patience 10 --every 25

# What a launch's arguments cost the host, by the same stand-ins
gpu-packing: build
	PYTHONPATH=$(CURDIR)/tests/cuda/fake $(PY) -W ignore -m pyops.bench.gpu packing

# The same for every change, in a minute: by the Python that is here, a case or two of every stage, and the machine code of a few files
TRY := $(GPU)/try
gpu-try: GPU_MATCH := ^(activation|softmax)/cuda.cu (f32|bf16)$$|^gemm/hopper.cu bf16$$
gpu-try: build $(GPU)/.nvrtc
	$(call gpu_bundle,$(PY) -m pip,$(TRY))
	rm -rf $(TRY)/bare $(TRY)/out
	$(PY) -m venv --without-pip $(TRY)/bare
	for name in numpy numpy.libs ml_dtypes; do ln -s $$($(PY) -c "import numpy; print(numpy.__path__[0][:-5])")$$name $(TRY)/bare/lib/python*/site-packages/; done
	PYTHON=$(CURDIR)/$(TRY)/bare/bin/python PYOPS_SCRATCH=$(CURDIR)/$(TRY)/scratch $(DRY_RUN) $(TRY)/pyops-gpu.tar.xz --out $(TRY)/out --few --parts 1 --seconds 900 --patience 10

clean:
	rm -rf build dist *.egg-info pyops/*.so
