// y = finish(join over the reduced axes of map(x)). x is seen as up to eight axes,
// kept and reduced in turn.
// REDUCTION names one struct of reductions.cuh; each is a module of its own, compiled when first
// used.
//
// Innermost axis reduced ("rows"): an output's elements are runs along memory. Short ones are taken
// by a group of up to 32 lanes, long ones by a block for every ROW_CHUNK elements. Innermost axis
// kept ("columns"): neighbouring threads take neighbouring outputs; few rows by one thread, more by
// a block of several threads an output for every COLUMN_CHUNK rows. The chunks' results are joined
// by a second launch (reduce_join). Who adds what to what depends on how much is reduced, not on how many outputs
// there are: a batch does not change a sample's bits.
#ifndef REDUCTION
#define REDUCTION Total
#endif
#include "reductions.cuh"
#include "index.cuh"

typedef REDUCTION R;

// The element of the given rank in axes of these sizes and strides, as an offset.
__device__ __forceinline__ i64 offset(int i, const Dims& sizes, const Dims& strides) {
    i64 at = 0;
#pragma unroll 1   // divisions are long, and this stands in many places
    for (int a = sizes.n - 1; a > 0; --a) {
        const int q = i / sizes[a];
        at += (i64)(i - q * sizes[a]) * strides[a];
        i = q;
    }
    return at + (i64)i * strides[0];
}

__device__ __forceinline__ acc parameter(const real* p, i64 output) { return p ? value(p[output]) : acc(0); }

// A chunk's result is written as it is, one of everything is finished.
__device__ __forceinline__ void give(acc total, i64 output, i64 place, acc p, acc e, real* y, acc* partial) {
    if (partial) partial[place] = total;
    else y[output] = rounded(R::finish(total, p, e));
}

template <int N> __device__ __forceinline__ Packet<real, N> packet(const real* x) {
    if (((size_t)x & (sizeof(real) * N - 1)) == 0) return *(const Packet<real, N>*)x;
    Packet<real, N> v;
#pragma unroll
    for (int k = 0; k < N; ++k) v.v[k] = x[k];
    return v;
}

// One thread's share of elements [from, to) of an output at x, where `width` threads
// share. Several chains hide the latency of loads. Runs whose length is a multiple of a
// packet are read in packets.
__device__ __forceinline__ acc along(const real* x, int from, int to, int lane, int width, const Dims& sizes,
                                     const Dims& strides, acc p, acc e) {
    constexpr int N = LANES;
    const bool one_run = sizes.n == 1;
    acc s[N];
#pragma unroll
    for (int k = 0; k < N; ++k) s[k] = R::none();
    if (sizes[sizes.n - 1] % N == 0) {
#pragma unroll 2
        for (int i = from + lane * N; i < to; i += width * N) {
            const Packet<real, N> v = packet<N>(x + (one_run ? i : offset(i, sizes, strides)));
#pragma unroll
            for (int k = 0; k < N; ++k) s[k] = R::join(s[k], R::map(value(v.v[k]), p, e));
        }
    } else {
        int i = from + lane;
        for (; one_run && i + (N - 1) * width < to; i += N * width) {
#pragma unroll
            for (int k = 0; k < N; ++k) s[k] = R::join(s[k], R::map(value(x[i + k * width]), p, e));
        }
#pragma unroll 1
        for (; i < to; i += width)
            s[0] = R::join(s[0], R::map(value(x[one_run ? i : offset(i, sizes, strides)]), p, e));
    }
#pragma unroll
    for (int step = N / 2; step; step /= 2)
#pragma unroll
        for (int k = 0; k < step; ++k) s[k] = R::join(s[k], s[k + step]);
    return s[0];
}

// `group` lanes (a power of two, at most 32) an output
__device__ __forceinline__ void groups(const real* x, const real* param, real* y, int outputs, int count,
                                       int group, const Dims& outer, const Dims& outer_strides,
                                       const Dims& inner, const Dims& inner_strides, acc e) {
    const i64 o = thread_index() / group;
    const bool mine = o < outputs;
    const acc p = mine ? parameter(param, o) : acc(0);
    const real* at = mine ? x + offset((int)o, outer, outer_strides) : x;
    acc v = along(at, 0, mine ? count : 0, threadIdx.x & (group - 1), group, inner, inner_strides, p, e);
    for (int step = group / 2; step; step /= 2) v = R::join(v, __shfl_xor_sync(WARP, v, step));
    if (mine && (threadIdx.x & (group - 1)) == 0) give(v, o, 0, p, e, y, nullptr);
}

// a block an output and chunk
__device__ __forceinline__ void rows(const real* x, const real* param, real* y, acc* partial, int count,
                                     int chunk, int chunks, const Dims& outer, const Dims& outer_strides,
                                     const Dims& inner, const Dims& inner_strides, acc e) {
    __shared__ acc slots[32];
    const int o = blockIdx.x / chunks, from = (int)(blockIdx.x - o * chunks) * chunk;
    const int to = count - from < chunk ? count : from + chunk;
    const acc p = parameter(param, o);
    const acc v = along(x + offset(o, outer, outer_strides), from, to, threadIdx.x, blockDim.x, inner,
                           inner_strides, p, e);
    const acc total = block_reduce<R>(v, slots);
    if (threadIdx.x == 0) give(total, o, blockIdx.x, p, e, y, partial);
}

// rows [from, to), each `step`-th, of the column at x
__device__ __forceinline__ acc down(const real* x, int from, int to, int step, const Dims& sizes,
                                    const Dims& strides, acc p, acc e) {
    acc a = R::none(), b = R::none();
    const bool one = sizes.n == 1;
    const i64 pitch = strides[0];
    int r = from;
#pragma unroll (sizeof(acc) == 8 ? 1 : 4)   // of doubles, exp is called, and what lives across calls spills
    for (; one && r + step < to; r += 2 * step) {
        a = R::join(a, R::map(value(x[r * pitch]), p, e));
        b = R::join(b, R::map(value(x[(r + step) * pitch]), p, e));
    }
#pragma unroll 1
    for (; r < to; r += step) a = R::join(a, R::map(value(x[one ? r * pitch : offset(r, sizes, strides)]), p, e));
    return R::join(a, b);
}

// blockDim.x neighbouring outputs of one block, blockDim.y threads each, over a chunk of rows; a
// chunk's results lie side by side
__device__ __forceinline__ void columns(const real* x, const real* param, real* y, acc* partial, int outputs,
                                        int width, int tiles, int count, int chunk, int chunks,
                                        const Dims& outer, const Dims& outer_strides, const Dims& inner,
                                        const Dims& inner_strides, acc e) {
    __shared__ acc slots[256];
    const int task = blockIdx.x / chunks, c = blockIdx.x - task * chunks, from = c * chunk;
    const int to = count - from < chunk ? count : from + chunk;
    const int row = task / tiles, column = (task - row * tiles) * blockDim.x + threadIdx.x,
              o = row * width + column;
    const bool mine = column < width;
    const acc p = mine ? parameter(param, o) : acc(0);
    acc v = R::none();
    if (mine)
        v = down(x + offset(o, outer, outer_strides), from + threadIdx.y, to, blockDim.y, inner,
                    inner_strides, p, e);
    const int slot = threadIdx.y * blockDim.x + threadIdx.x;
    slots[slot] = v;
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) slots[slot] = R::join(slots[slot], slots[slot + half * blockDim.x]);
    }
    if (mine && threadIdx.y == 0) give(slots[slot], o, (i64)c * outputs + o, p, e, y, partial);
}

// Dims are grid constants: indexed by a variable, a copy would lie in local memory.
extern "C" {
__global__ void __launch_bounds__(256)
    reduce_groups(const real* x, const real* param, real* y, int outputs, int count, int group,
                  const __grid_constant__ Dims outer, const __grid_constant__ Dims outer_strides,
                  const __grid_constant__ Dims inner, const __grid_constant__ Dims inner_strides, acc e) {
    groups(x, param, y, outputs, count, group, outer, outer_strides, inner, inner_strides, e);
}
__global__ void __launch_bounds__(256)
    reduce_rows(const real* x, const real* param, real* y, acc* partial, int count, int chunk, int chunks,
                const __grid_constant__ Dims outer, const __grid_constant__ Dims outer_strides,
                const __grid_constant__ Dims inner, const __grid_constant__ Dims inner_strides, acc e) {
    rows(x, param, y, partial, count, chunk, chunks, outer, outer_strides, inner, inner_strides, e);
}
__global__ void __launch_bounds__(256)
    reduce_short_columns(const real* x, const real* param, real* y, int outputs, int count,
                         const __grid_constant__ Dims outer, const __grid_constant__ Dims outer_strides,
                         const __grid_constant__ Dims inner, const __grid_constant__ Dims inner_strides,
                         acc e) {
    for (GRID_STRIDE(o, outputs)) {
        const acc p = parameter(param, o);
        give(down(x + offset((int)o, outer, outer_strides), 0, count, 1, inner, inner_strides, p, e),
             o, 0, p, e, y, nullptr);
    }
}
__global__ void __launch_bounds__(256)
    reduce_columns(const real* x, const real* param, real* y, acc* partial, int outputs, int width, int tiles,
                   int count, int chunk, int chunks, const __grid_constant__ Dims outer,
                   const __grid_constant__ Dims outer_strides, const __grid_constant__ Dims inner,
                   const __grid_constant__ Dims inner_strides, acc e) {
    columns(x, param, y, partial, outputs, width, tiles, count, chunk, chunks, outer, outer_strides,
                    inner, inner_strides, e);
}
// A chunk's result of output o and chunk c lies at o across + c down. `group` threads an output: up to a warp,
// or the block's 256.
__global__ void __launch_bounds__(256) reduce_join(const acc* partial, const real* param, real* y, int outputs,
                                                   int chunks, int group, i64 across, i64 down, acc e) {
    __shared__ acc slots[32];
    const i64 o = thread_index() / group;
    acc v = R::none();
#pragma unroll 2
    for (int c = threadIdx.x & (group - 1); o < outputs && c < chunks; c += group)
        v = R::join(v, partial[o * across + c * down]);
    if (group > 32) v = block_reduce<R>(v, slots);
    else
        for (int step = group / 2; step; step /= 2) v = R::join(v, __shfl_xor_sync(WARP, v, step));
    if (o < outputs && (threadIdx.x & (group - 1)) == 0)
        y[o] = rounded(R::finish(v, parameter(param, o), e));
}
}
