// The extreme of x (outer, n, inner) along n and where it is, and the gradient that goes back
// there. The first of equals; a NaN wins. Candidates join in any order to the same result: of
// equals the one of the smaller index is better.
//
// Lines along memory (inner = 1): a warp each, a block for each chunk of a long one. Lines across
// memory: neighbouring threads take neighbouring lines, blockDim.y threads a line. Candidates of
// chunks come back with their indices in `from`.
#include "reduce.cuh"
#include "index.cuh"

struct Candidate { acc value; int index; };

template <class R> __device__ __forceinline__ Candidate better(Candidate a, Candidate b) {
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    const bool equal = a.value == b.value || (a_nan && b_nan);
    const bool b_beats = !a_nan && (b_nan || (R::none() < 0 ? b.value > a.value : b.value < a.value));
    return b_beats || (equal && b.index < a.index) ? b : a;
}
template <class R> __device__ __forceinline__ Candidate nobody() { return {R::none(), 0x7fffffff}; }

template <class R> __device__ __forceinline__ Candidate over_warp(Candidate c) {
#pragma unroll
    for (int step = 16; step; step >>= 1) {
        const Candidate other{__shfl_xor_sync(WARP, c.value, step), __shfl_xor_sync(WARP, c.index, step)};
        c = better<R>(c, other);
    }
    return c;
}

// One thread's candidate of x[from, to).
template <class R>
__device__ __forceinline__ Candidate along(const real* x, const int* origin, int from, int to, int step) {
    Candidate best = nobody<R>();
#pragma unroll 4
    for (int i = from; i < to; i += step) best = better<R>(best, {value(x[i]), origin ? origin[i] : i});
    return best;
}

__device__ __forceinline__ void give(Candidate c, i64 at, real* values, i64* indices, int* partial) {
    values[at] = rounded(c.value);
    if (partial) partial[at] = c.index;
    else indices[at] = c.index;
}

template <class R>
__device__ __forceinline__ void warps(const real* x, const int* origin, i64 lines, int n, real* values,
                                      i64* indices) {
    const i64 line = thread_index() >> 5;
    if (line >= lines) return;
    const Candidate c =
        over_warp<R>(along<R>(x + line * n, origin ? origin + line * n : nullptr, threadIdx.x & 31, n, 32));
    if ((threadIdx.x & 31) == 0) give(c, line, values, indices, nullptr);
}

template <class R>
__device__ __forceinline__ void blocks(const real* x, int n, int chunk, int chunks, real* values,
                                       int* partial) {
    __shared__ acc best[32];
    __shared__ int where[32];
    const int line = blockIdx.x / chunks, from = (blockIdx.x - line * chunks) * chunk,
              to = n - from < chunk ? n : from + chunk;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    Candidate c = over_warp<R>(along<R>(x + (i64)line * n, nullptr, from + threadIdx.x, to, blockDim.x));
    if (lane == 0) { best[warp] = c.value; where[warp] = c.index; }
    __syncthreads();
    if (warp) return;
    c = over_warp<R>(lane < (int)blockDim.x / 32 ? Candidate{best[lane], where[lane]} : nobody<R>());
    if (lane == 0) give(c, blockIdx.x, values, nullptr, partial);
}

template <class R>
__device__ __forceinline__ void columns(const real* x, int n, int inner, int tiles, real* values,
                                        i64* indices) {
    __shared__ acc best[256];
    __shared__ int where[256];
    const int o = blockIdx.x / tiles, column = (blockIdx.x - o * tiles) * blockDim.x + threadIdx.x;
    const int slot = threadIdx.y * blockDim.x + threadIdx.x;
    const bool mine = column < inner;
    Candidate c = nobody<R>();
    const real* at = x + (i64)o * n * inner + column;
    if (mine) {
#pragma unroll 4
        for (int i = threadIdx.y; i < n; i += blockDim.y) c = better<R>(c, {value(at[(i64)i * inner]), i});
    }
    best[slot] = c.value;
    where[slot] = c.index;
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.y >= half) continue;
        const int with = slot + half * blockDim.x;
        c = better<R>(c, {best[with], where[with]});
        best[slot] = c.value;
        where[slot] = c.index;
    }
    if (mine && threadIdx.y == 0) give(c, (i64)o * inner + column, values, indices, nullptr);
}

extern "C" {
__global__ void __launch_bounds__(256)
    arg_max_warps(const real* x, const int* origin, i64 lines, int n, real* values, i64* indices) {
    warps<Max>(x, origin, lines, n, values, indices);
}
__global__ void __launch_bounds__(256)
    arg_min_warps(const real* x, const int* origin, i64 lines, int n, real* values, i64* indices) {
    warps<Min>(x, origin, lines, n, values, indices);
}
__global__ void __launch_bounds__(256)
    arg_max_blocks(const real* x, int n, int chunk, int chunks, real* values, int* partial) {
    blocks<Max>(x, n, chunk, chunks, values, partial);
}
__global__ void __launch_bounds__(256)
    arg_min_blocks(const real* x, int n, int chunk, int chunks, real* values, int* partial) {
    blocks<Min>(x, n, chunk, chunks, values, partial);
}
__global__ void __launch_bounds__(256)
    arg_max_columns(const real* x, int n, int inner, int tiles, real* values, i64* indices) {
    columns<Max>(x, n, inner, tiles, values, indices);
}
__global__ void __launch_bounds__(256)
    arg_min_columns(const real* x, int n, int inner, int tiles, real* values, i64* indices) {
    columns<Min>(x, n, inner, tiles, values, indices);
}

// every element asks whether it was the one: a store each, no clearing before
__global__ void __launch_bounds__(256)
    place_along(const real* g, const i64* index, i64 total, int n, int inner, real* dx) {
    for (GRID_STRIDE(t, total)) {
        const i64 row = t / inner;
        const int column = (int)(t - row * inner), at = (int)(row % n);
        const i64 from = row / n * inner + column;
        dx[t] = index[from] == at ? g[from] : rounded(0);
    }
}
}
