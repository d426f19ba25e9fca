"""The emulator's checker on small kernels, both ways: what is legal passes, and the fault
next to it is found."""
import numpy as np
import pytest

from pyops.cuda import emulator
from pyops.cuda.source import Source

pytestmark = pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing() or "can run")

NONE, WARP, BLOCK = range(3)   # what stands between two accesses
KERNELS = r"""
#include <cooperative_groups.h>
#include <mma.h>
#include "cuemu_mma.h"

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

template <class T> __device__ void shift(T* x, int by, int shared) {
    x[threadIdx.x / shared] = x[(threadIdx.x + by) % 64];
}
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
extern "C" __global__ void copy_short(unsigned char* x, int at, int to, int sharing) {
    copy<short>(x, at, to, sharing);
}
extern "C" __global__ void copy_double(unsigned char* x, int at, int to, int sharing) {
    copy<double>(x, at, to, sharing);
}
extern "C" __global__ void copy_float2(unsigned char* x, int at, int to, int sharing) {
    copy<float2>(x, at, to, sharing);
}
extern "C" __global__ void copy_float4(unsigned char* x, int at, int to, int sharing) {
    copy<float4>(x, at, to, sharing);
}
extern "C" __global__ void copy_S8(unsigned char* x, int at, int to, int sharing) {
    copy<S8>(x, at, to, sharing);
}
extern "C" __global__ void copy_S12(unsigned char* x, int at, int to, int sharing) {
    copy<S12>(x, at, to, sharing);
}
extern "C" __global__ void copy_S24(unsigned char* x, int at, int to, int sharing) {
    copy<S24>(x, at, to, sharing);
}
extern "C" __global__ void copy_S32(unsigned char* x, int at, int to, int sharing) {
    copy<S32>(x, at, to, sharing);
}
extern "C" __global__ void copy_S100(unsigned char* x, int at, int to, int sharing) {
    copy<S100>(x, at, to, sharing);
}

extern "C" __global__ void between_views(float* x, float* y, int how) {   // y lies within x
    x[threadIdx.x] = 1;
    meet(how);
    y[threadIdx.x] = 2;
}

// ---- what threads do together
extern "C" __global__ void barrier_for_some(int* x, int threads) {
    if (threadIdx.x < threads) __syncthreads();
    x[threadIdx.x] = 1;
    __syncthreads();
}
extern "C" __global__ void early_exit(int* x, int threads) {
    if (threadIdx.x >= threads) return;
    __syncthreads();
    x[threadIdx.x] = 1;
}
extern "C" __global__ void wait_forever(int* x, int lane) {
    if (threadIdx.x == lane) __syncthreads();
    __syncwarp();
    x[threadIdx.x] = 1;
}
extern "C" __global__ void shuffle(int* x, unsigned mask, int source, int leaver) {
    if (threadIdx.x == leaver) return;
    x[threadIdx.x] = __shfl_sync(mask, (int)threadIdx.x, source);
}
extern "C" __global__ void two_shuffles(int* x, int lane) {
    int v = 0;
    if (threadIdx.x == lane) v = __shfl_sync(0xffffffffu, 1, 0);
    else v = __shfl_xor_sync(0xffffffffu, 2, 1);
    x[threadIdx.x] = v;
}
extern "C" __global__ void matrix_row(int* x, int leaver) {
    __shared__ __align__(16) unsigned short rows[8][8];
    if (threadIdx.x < 8) for (int i = 0; i < 8; ++i) rows[threadIdx.x][i] = 0;
    __syncwarp();
    if (threadIdx.x == leaver) return;
    unsigned r = 0;
    cuemu::ldmatrix(&r, rows[threadIdx.x % 8], 1, false, __FILE__, __LINE__);
    x[threadIdx.x] = r;
}
extern "C" __global__ void copy_behind(const float* x, float* out, int wait) {
    __shared__ __align__(16) float line[128];
    cuemu_cp_async(line + 4 * threadIdx.x, x + 4 * threadIdx.x, 16, 16);
    cuemu_cp_async_commit();
    cuemu_cp_async_wait(wait);
    __syncwarp();
    out[threadIdx.x] = line[threadIdx.x];
    cuemu_cp_async_wait(0);
}
extern "C" __global__ void copy_and_go(const float* x) {
    __shared__ __align__(16) float line[128];
    cuemu_cp_async(line + 4 * threadIdx.x, x + 4 * threadIdx.x, 16, 16);
}

extern "C" __global__ void wmma_product(const half* a, const half* b, float* c) {   // c += a b: a by rows, b by columns
    using namespace nvcuda::wmma;
    fragment<matrix_a, 16, 16, 16, half, row_major> fa;
    fragment<matrix_b, 16, 16, 16, half, col_major> fb;
    fragment<accumulator, 16, 16, 16, float> fc;
    load_matrix_sync(fa, a, 16);
    load_matrix_sync(fb, b, 16);
    load_matrix_sync(fc, c, 16, mem_row_major);
    mma_sync(fc, fa, fb, fc);
    store_matrix_sync(c, fc, 16, mem_row_major);
}
extern "C" __global__ void tile_sums(const float* x, float* sums) {
    const auto tile = cooperative_groups::tiled_partition<8>(cooperative_groups::this_thread_block());
    float v = x[threadIdx.x];
    for (int by = 4; by; by /= 2) v += tile.shfl_down(v, by);
    if (tile.thread_rank() == 0) sums[threadIdx.x / 8] = v;
}
extern "C" __global__ void warp_functions(const int* x, int* out) {
    const unsigned all = 0xffffffffu;
    const int v = x[threadIdx.x];
    out[threadIdx.x] = __shfl_up_sync(all, v, 3, 16);
    out[32 + threadIdx.x] = __shfl_xor_sync(all, v, 5);
    out[64 + threadIdx.x] = __ballot_sync(all, v > 20);
    out[96 + threadIdx.x] = __match_any_sync(all, v / 8);
    out[128 + threadIdx.x] = __all_sync(all, v >= 0) + 2 * __any_sync(all, v > 31);
}

// ---- what one thread does
extern "C" __global__ void arithmetic(int* x, int n, int bits, int by) {
    int table[4] = {};
    x[0] = n + 1;
    x[1] = 1 << bits;
    x[2] = 7 / by;
    x[3] = table[n & 7];
}
extern "C" __global__ void write_const(const float* x) { const_cast<float*>(x)[threadIdx.x] = 1; }
extern "C" __global__ void run_away(int* x) { while (*(volatile int*)x == 0) {} }
extern "C" __global__ void read_null(const float* x, float* out) { out[0] = x[1]; }
"""
DTYPE = {"char": np.int8, "short": np.int16, "int": np.int32}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(kernel, arguments): its report; a Python int is passed as int."""
    path = tmp_path_factory.mktemp("emulator") / "kernels.cu"
    path.write_text(KERNELS)

    def launch(kernel, *args, grid=1, block=64, checked=True, **options):
        args = [np.int32(a) if isinstance(a, int) else a for a in args]
        return emulator.Module.of(Source(path, "f32"),
                                  checked).function(kernel)((grid,), (block,), args, **options)
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


@pytest.mark.parametrize("by, shared, found",
                         [(0, 1, []), (1, 1, ["race-RAW", "race-WAR"]), (0, 2, ["race-WAR", "race-WAW"])])
@pytest.mark.parametrize("type", ["char", "short"])
def test_parts_of_words_in_global_memory(kinds, type, by, shared, found):
    assert kinds(f"shift_{type}", np.zeros(64, DTYPE[type]), by, shared) == found


@pytest.mark.parametrize("half, how, found",
                         [(1, NONE, ["race-WAW"]), (0, NONE, ["race-WAW"]), (1, BLOCK, []), (2, NONE, [])])
def test_a_word_and_its_half_overlap(kinds, half, how, found):
    assert kinds("word_and_half", aligned(8).view(np.int16), half, how) == found


def test_the_other_half_is_still_uninitialised(kinds):
    assert kinds("fill_even", np.zeros(64, np.int16), ~1) == []
    assert kinds("fill_even", np.zeros(64, np.int16), ~0) == ["uninitialised-read"]


@pytest.mark.parametrize("writer, found", [(2, []), (1, ["race-WAR"]), (0, ["race-RAW"])])
def test_a_block_that_reads_the_same_hides_no_other(kinds, writer, found):
    """The writing block's own threads have read what they write; so has another block, and
    nothing orders blocks."""
    assert kinds("read_and_write", np.zeros(64, np.float32), np.zeros(128, np.float32), writer,
                 grid=2) == found


def test_a_plain_store_before_atomics_needs_a_barrier(kinds):
    assert kinds("count", np.zeros(1, np.int32), BLOCK) == []
    assert kinds("count", np.zeros(1, np.int32), NONE) == ["race-WAW"]


# ---- alignment: what one instruction moves lies on a multiple of its size, a struct where its type must

@pytest.mark.parametrize("type, size, step",
                         [("short", 2, 2), ("double", 8, 8), ("float2", 8, 8), ("float4", 16, 16),
                          ("S8", 8, 4), ("S12", 12, 4), ("S24", 24, 8), ("S32", 32, 16), ("S100", 100, 4)])
def test_a_type_is_as_aligned_as_it_must_be(kinds, type, size, step):
    x = aligned(66 * size)
    for at in (0, step):
        assert kinds(f"copy_{type}", x, at, 32, 1, block=32) == []
    assert kinds(f"copy_{type}", x, step // 2, 32, 1, block=32) == ["misaligned"]


@pytest.mark.parametrize("to, sharing, found", [(32, 1, []), (33, 1, ["out-of-bounds"]),
                                                (32, 2, ["race-WAW"]), (31, 1, ["race-RAW"])])
def test_faults_of_structs_are_found(kinds, to, sharing, found):
    assert kinds("copy_S100", aligned(64 * 100), 0, to, sharing, block=32) == found


def test_structs_count_as_the_loads_they_are_made_of(run):
    """32 bytes are two loads of 16, each of which touches one sector a thread."""
    report = run("copy_S32", aligned(64 * 32), 0, 32, 1, block=32, profile=True)
    moved = {(t.op, t.size): (t.requests, t.transactions) for t in report.traffic if t.space == "global"}
    assert moved == {("load", 16): (2, 64), ("store", 16): (2, 64)}


def test_views_of_one_array_share_a_history(kinds):
    x = np.zeros(96, np.float32)
    assert kinds("between_views", x, x[32:], BLOCK) == [] and kinds("between_views", x[32:], x[:64],
                                                                    BLOCK) == []
    assert kinds("between_views", x, x[32:], NONE) == ["race-WAW"]
    assert kinds("between_views", x[:64], x[33:], BLOCK) == ["out-of-bounds"]


# ---- barriers, warps, asynchronous copies

@pytest.mark.parametrize("kernel, args, found", [
    ("barrier_for_some", (64,), []),
    ("barrier_for_some", (32,), ["barrier-divergence"]), ("barrier_for_some", (0,), []),
    ("early_exit", (40,), []), ("wait_forever", (64,), []), ("wait_forever", (3,), ["deadlock"]),
    ("shuffle", (np.uint32(2 ** 32 - 1), 3, 64), []), ("shuffle", (np.uint32(2 ** 32 - 1), 3, 5), []),
    ("shuffle", (np.uint32(2 ** 32 - 1), 5, 5), ["shfl-inactive-lane"]),
    ("shuffle", (np.uint32(2 ** 31 - 1), 3, 64), ["warp-mask"]),
    ("two_shuffles", (64,), []), ("two_shuffles", (3,), ["warp-divergence"]),
    ("matrix_row", (64,), []), ("matrix_row", (31,), ["ldmatrix"]), ("matrix_row", (2,), ["ldmatrix"]),
])
def test_threads_together(kinds, kernel, args, found):
    assert kinds(kernel, np.zeros(64, np.int32), *args,
                 block=64 if "barrier" in kernel or kernel == "early_exit" else 32) == found


def test_a_barrier_that_ended_threads_do_not_reach_is_found_where_asked(kinds):
    assert kinds("early_exit", np.zeros(64, np.int32), 40, strict_exit=True) == ["barrier-after-exit"]
    assert kinds("early_exit", np.zeros(64, np.int32), 64, strict_exit=True) == []


def test_asynchronous_copies_are_waited_for(run):
    x, out = aligned(512).view(np.float32), np.zeros(32, np.float32)
    x[:] = np.arange(128)
    assert run("copy_behind", x, out, 0, block=32).kinds() == [] and np.array_equal(out, x[:32])
    assert "uninitialised-read" in run("copy_behind", x, out, 1, block=32).kinds()
    assert run("copy_and_go", x, block=32).kinds() == ["cp.async-unwaited"]
    assert run("copy_and_go", x[1:], block=31).kinds() == ["misaligned"]


# ---- one thread's own faults

@pytest.mark.parametrize("n, bits, by, found", [
    (3, 31, 7, []), (2 ** 31 - 1, 1, 1, ["array-index", "int-overflow"]), (3, 32, 1, ["shift"]),
    (4, 1, 1, ["array-index"]),
])
def test_arithmetic(kinds, n, bits, by, found):
    assert kinds("arithmetic", np.zeros(4, np.int32), n, bits, by, block=1) == found


def test_constants_endless_loops_and_null(kinds):
    assert kinds("write_const", np.zeros(64, np.float32)) == ["write-to-const"]
    assert kinds("run_away", np.zeros(1, np.int32), block=1, limit=1000) == ["runaway"]
    assert kinds("run_away", np.ones(1, np.int32), block=1, limit=1000) == []
    assert kinds("read_null", None, np.zeros(1, np.float32), block=1) == ["out-of-bounds"]


# ---- models of what a warp does together

# in every order, and unchecked, too
RUNS = pytest.mark.parametrize("options",
                               [{"order": o, "checked": c} for o in (0, 1, 7) for c in (True, False)],
                               ids=lambda o: f"order{o['order']}-{'checked' if o['checked'] else 'fast'}")


@RUNS
def test_a_product_of_fragments(run, options):
    a, b = np.random.default_rng(0).standard_normal((2, 16, 16)).astype(np.float16)
    c = np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32)
    want = c + a.astype(np.float32) @ b.astype(np.float32).T
    assert (run("wmma_product", a, b, c, block=32, **options).kinds() == []
            and np.allclose(c, want, rtol=1e-5, atol=1e-5))


@RUNS
def test_sums_of_tiles(run, options):
    x, sums = np.arange(64, dtype=np.float32), np.zeros(8, np.float32)
    assert run("tile_sums", x, sums, **options).kinds() == [] and np.array_equal(sums, x.reshape(8, 8).sum(1))


@RUNS
def test_shuffles_and_votes(run, options):
    x, out = np.arange(32, dtype=np.int32), np.zeros((5, 32), np.int32)
    assert run("warp_functions", x, out, block=32, **options).kinds() == []
    assert np.array_equal(out[0], np.where(x % 16 < 3, x, x - 3)) and np.array_equal(out[1], x ^ 5)
    assert np.array_equal(out[2].view(np.uint32), np.full(32, sum(1 << i for i in range(21, 32)), np.uint32))
    assert (np.array_equal(out[3].view(np.uint32), np.uint32(0xff) << (x // 8 * 8).astype(np.uint32))
            and np.array_equal(out[4], np.ones(32)))


@RUNS
def test_barriers_and_atomics(run, options):
    total, line = np.zeros(1, np.int32), np.zeros(64, np.int16)
    assert run("count", total, BLOCK, **options).kinds() == [] and total == 64
    assert run("twice_short", line, 1, BLOCK, **options).kinds() == [] and np.all(line == 2)
