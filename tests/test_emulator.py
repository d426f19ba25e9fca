"""The emulator's checker on small kernels, both ways: what is legal passes, and the fault next to it is found."""
import numpy as np
import pytest

from pyops.cuda import emulator
from pyops.cuda.source import Source

pytestmark = pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing() or "can run")

NONE, WARP, BLOCK = range(3)   # what stands between two accesses
KERNELS = r"""
struct S8 { float v[2]; };
struct S12 { float v[3]; };
struct S24 { double v[3]; };
struct __align__(16) S32 { float v[8]; };
struct S100 { float v[25]; };

__device__ void meet(int how) {
    if (how == 1) __syncwarp();
    if (how == 2) __syncthreads();
}

// thread t stores element t of a line, then element t ^ other
template <class T> __device__ void twice(T* out, int other, int how) {
    __shared__ T line[64];
    line[threadIdx.x] = 1;
    meet(how);
    line[threadIdx.x ^ other] = 2;
    __syncthreads();
    out[threadIdx.x] = line[threadIdx.x];
}
extern "C" __global__ void twice_char(signed char* out, int other, int how) { twice(out, other, how); }
extern "C" __global__ void twice_short(short* out, int other, int how) { twice(out, other, how); }
extern "C" __global__ void twice_int(int* out, int other, int how) { twice(out, other, how); }

template <class T> __device__ void shift(T* x, int by, int shared) { x[threadIdx.x / shared] = x[(threadIdx.x + by) % 64]; }
extern "C" __global__ void shift_char(signed char* x, int by, int shared) { shift(x, by, shared); }
extern "C" __global__ void shift_short(short* x, int by, int shared) { shift(x, by, shared); }

extern "C" __global__ void word_and_half(short* x, int half, int how) {
    if (threadIdx.x == 0) *(int*)x = 1;
    meet(how);
    if (threadIdx.x == 40) x[half] = 2;
}
extern "C" __global__ void fill_even(short* out, int mask) {
    __shared__ short line[64];
    if (threadIdx.x % 2 == 0) line[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = line[threadIdx.x & mask];
}
extern "C" __global__ void read_and_write(float* x, float* out, int writer) {
    out[blockIdx.x * 64 + threadIdx.x] = x[threadIdx.x];
    if (blockIdx.x == writer) x[threadIdx.x] = 1;
}
extern "C" __global__ void count(int* out, int how) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    meet(how);
    atomicAdd(&sum, 1);
    __syncthreads();
    if (threadIdx.x == 0) *out = sum;
}

// element t of what lies at x + at goes to element to + t / sharing
template <class T> __device__ void copy(unsigned char* x, int at, int to, int sharing) {
    T* s = (T*)(x + at);
    s[to + threadIdx.x / sharing] = s[threadIdx.x];
}
extern "C" __global__ void copy_short(unsigned char* x, int at, int to, int sharing) { copy<short>(x, at, to, sharing); }
extern "C" __global__ void copy_double(unsigned char* x, int at, int to, int sharing) { copy<double>(x, at, to, sharing); }
extern "C" __global__ void copy_float2(unsigned char* x, int at, int to, int sharing) { copy<float2>(x, at, to, sharing); }
extern "C" __global__ void copy_float4(unsigned char* x, int at, int to, int sharing) { copy<float4>(x, at, to, sharing); }
extern "C" __global__ void copy_S8(unsigned char* x, int at, int to, int sharing) { copy<S8>(x, at, to, sharing); }
extern "C" __global__ void copy_S12(unsigned char* x, int at, int to, int sharing) { copy<S12>(x, at, to, sharing); }
extern "C" __global__ void copy_S24(unsigned char* x, int at, int to, int sharing) { copy<S24>(x, at, to, sharing); }
extern "C" __global__ void copy_S32(unsigned char* x, int at, int to, int sharing) { copy<S32>(x, at, to, sharing); }
extern "C" __global__ void copy_S100(unsigned char* x, int at, int to, int sharing) { copy<S100>(x, at, to, sharing); }
"""
DTYPE = {"char": np.int8, "short": np.int16, "int": np.int32}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(kernel, arguments): its report; a Python int is passed as int."""
    path = tmp_path_factory.mktemp("emulator") / "kernels.cu"
    path.write_text(KERNELS)
    module = emulator.Module.of(Source(path, "f32"), checked=True)

    def launch(kernel, *args, grid=1, block=64, **options):
        args = [np.int32(a) if isinstance(a, int) else a for a in args]
        return module.function(kernel)((grid,), (block,), args, **options)
    return launch


@pytest.fixture(scope="module")
def kinds(run):
    return lambda *args, **options: run(*args, **options).kinds()


def aligned(size):
    memory = np.zeros(size + 256, np.uint8)
    return memory[-memory.ctypes.data % 256:][:size]


# ---- races of parts of a word

@pytest.mark.parametrize("type, other", [("short", 1), ("char", 1), ("char", 2), ("char", 3), ("int", 1)])
@pytest.mark.parametrize("how, found", [(BLOCK, []), (WARP, []), (NONE, ["race-WAW"])])
def test_neighbours_within_a_word_are_told_apart(kinds, type, other, how, found):
    assert kinds(f"twice_{type}", np.zeros(64, DTYPE[type]), other, how) == found


@pytest.mark.parametrize("by, shared, found", [(0, 1, []), (1, 1, ["race-RAW", "race-WAR"]), (0, 2, ["race-WAR", "race-WAW"])])
@pytest.mark.parametrize("type", ["char", "short"])
def test_parts_of_words_in_global_memory(kinds, type, by, shared, found):
    assert kinds(f"shift_{type}", np.zeros(64, DTYPE[type]), by, shared) == found


@pytest.mark.parametrize("half, how, found", [(1, NONE, ["race-WAW"]), (0, NONE, ["race-WAW"]), (1, BLOCK, []), (2, NONE, [])])
def test_a_word_and_its_half_overlap(kinds, half, how, found):
    assert kinds("word_and_half", aligned(8).view(np.int16), half, how) == found


def test_the_other_half_is_still_uninitialised(kinds):
    assert kinds("fill_even", np.zeros(64, np.int16), ~1) == []
    assert kinds("fill_even", np.zeros(64, np.int16), ~0) == ["uninitialised-read"]


@pytest.mark.parametrize("writer, found", [(2, []), (1, ["race-WAR"]), (0, ["race-RAW"])])
def test_a_block_that_reads_the_same_hides_no_other(kinds, writer, found):
    """The writing block's own threads have read what they write; so has another block, and nothing orders blocks."""
    assert kinds("read_and_write", np.zeros(64, np.float32), np.zeros(128, np.float32), writer, grid=2) == found


def test_a_plain_store_before_atomics_needs_a_barrier(kinds):
    assert kinds("count", np.zeros(1, np.int32), BLOCK) == []
    assert kinds("count", np.zeros(1, np.int32), NONE) == ["race-WAW"]


# ---- alignment: what one instruction moves lies on a multiple of its size, a struct where its type must

@pytest.mark.parametrize("type, size, step", [("short", 2, 2), ("double", 8, 8), ("float2", 8, 8), ("float4", 16, 16),
                                              ("S8", 8, 4), ("S12", 12, 4), ("S24", 24, 8), ("S32", 32, 16), ("S100", 100, 4)])
def test_a_type_is_as_aligned_as_it_must_be(kinds, type, size, step):
    x = aligned(66 * size)
    for at in (0, step):
        assert kinds(f"copy_{type}", x, at, 32, 1, block=32) == []
    assert kinds(f"copy_{type}", x, step // 2, 32, 1, block=32) == ["misaligned"]


@pytest.mark.parametrize("to, sharing, found", [(32, 1, []), (33, 1, ["out-of-bounds"]), (32, 2, ["race-WAW"]), (31, 1, ["race-RAW"])])
def test_faults_of_structs_are_found(kinds, to, sharing, found):
    assert kinds("copy_S100", aligned(64 * 100), 0, to, sharing, block=32) == found


def test_structs_count_as_the_loads_they_are_made_of(run):
    """32 bytes are two loads of 16, each of which touches one sector a thread."""
    report = run("copy_S32", aligned(64 * 32), 0, 32, 1, block=32, profile=True)
    moved = {(t.op, t.size): (t.requests, t.transactions) for t in report.traffic if t.space == "global"}
    assert moved == {("load", 16): (2, 64), ("store", 16): (2, 64)}
