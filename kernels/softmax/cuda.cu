// softmax and log_softmax along an axis of x seen as (outer, n, inner), and their gradients.
//
// A line that lies along memory (inner = 1) comes from memory once where the registers of a warp or
// of a block hold it (layer_norm/rows.cuh): its maximum, the exponentials, their sum. A longer one
// is read three times by a block. Lines across memory have a thread each, so that a warp's threads
// read neighbours.
#include "layer_norm/rows.cuh"
#include "index.cuh"

// a thread: 64 registers hold them where a block has 1024
constexpr int BLOCK_VALUES = sizeof(acc) == 8 ? 8 : 16;

// kept: of a value until the sum of exponentials is known; last: from that and what `of` makes of it
struct Softmax {
    static __device__ acc term(acc x, acc peak) { return exp(x - peak); }
    static __device__ acc result(acc x, acc peak, acc sum) { return exp(x - peak) / sum; }
    static __device__ acc kept(acc, acc term) { return term; }
    static __device__ acc of(acc sum) { return 1 / sum; }
    static __device__ acc last(acc kept, acc scale) { return kept * scale; }
};
struct LogSoftmax {
    static __device__ acc term(acc x, acc peak) { return exp(x - peak); }
    static __device__ acc result(acc x, acc peak, acc sum) { return x - peak - log(sum); }
    static __device__ acc kept(acc away, acc) { return away; }
    static __device__ acc of(acc sum) { return log(sum); }
    static __device__ acc last(acc kept, acc shift) { return kept - shift; }
};

__device__ __forceinline__ acc row_max(acc v) {
    __shared__ acc slots[32];
    return blockDim.x == 32 ? warp_reduce<Max>(v) : block_reduce<Max>(v, slots);
}

template <class F, int PACKS> __device__ void along_held(const real* x, real* y, i64 lines, int n) {
    const i64 line = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (line >= lines) return;   // whole warps
    const bool packed = n % LANES == 0 && aligned(x) && aligned(y);
    Row<PACKS> row;
    row.load(x + line * n, n, packed);
    acc peak = -infinity(), sum = 0;
#pragma unroll
    for (int k = 0; k < PACKS; ++k)
#pragma unroll
        for (int l = 0; l < LANES; ++l)
            if (l < Row<PACKS>::live(k, n)) peak = larger(peak, row.v[k][l]);
    peak = row_max(peak);
#pragma unroll
    for (int k = 0; k < PACKS; ++k)
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            const acc away = row.v[k][l] - peak, term = l < Row<PACKS>::live(k, n) ? exp(away) : acc(0);
            row.v[k][l] = F::kept(away, term);
            sum += term;
        }
    const acc s = F::of(row_sum(sum));
#pragma unroll
    for (int k = 0; k < PACKS; ++k) {
        const int live = Row<PACKS>::live(k, n);
        if (live == 0) break;
#pragma unroll
        for (int l = 0; l < LANES; ++l) row.v[k][l] = F::last(row.v[k][l], s);
        store_lanes(y + line * n + Row<PACKS>::at(k), live, packed, row.v[k]);
    }
}

template <class F> __device__ void along_block(const real* x, real* y, int n) {
    __shared__ acc slots[32];
    x += (i64)blockIdx.x * n;
    y += (i64)blockIdx.x * n;
    acc peak = -infinity(), sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) peak = larger(peak, value(x[i]));
    peak = block_reduce<Max>(peak, slots);
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += F::term(value(x[i]), peak);
    sum = block_reduce<Sum>(sum, slots);
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = rounded(F::result(value(x[i]), peak, sum));
}

template <class F> __device__ void across(const real* x, real* y, i64 outer, int n, i64 inner) {
    for (GRID_STRIDE(line, outer * inner)) {
        const i64 at = line / inner * n * inner + line % inner;
        acc peak = -infinity(), sum = 0;
        for (int i = 0; i < n; ++i) peak = larger(peak, value(x[at + i * inner]));
        for (int i = 0; i < n; ++i) sum += F::term(value(x[at + i * inner]), peak);
        for (int i = 0; i < n; ++i)
            y[at + i * inner] = rounded(F::result(value(x[at + i * inner]), peak, sum));
    }
}

struct SoftmaxBackward {   // y (dy - sum of dy y)
    static __device__ acc term(acc dy, acc y) { return dy * y; }
    static __device__ acc result(acc dy, acc y, acc sum) { return y * (dy - sum); }
};
struct LogSoftmaxBackward {   // dy - e^y sum of dy
    static __device__ acc term(acc dy, acc) { return dy; }
    static __device__ acc result(acc dy, acc y, acc sum) { return dy - exp(y) * sum; }
};

template <class F, int PACKS>
__device__ void backward_along_held(const real* dy, const real* y, real* dx, i64 lines, int n) {
    const i64 line = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (line >= lines) return;   // whole warps
    const bool packed = n % LANES == 0 && aligned(dy) && aligned(y) && aligned(dx);
    Row<PACKS> g, of;
    g.load(dy + line * n, n, packed);
    of.load(y + line * n, n, packed);
    acc sum = 0;
#pragma unroll
    for (int k = 0; k < PACKS; ++k)
#pragma unroll
        for (int l = 0; l < LANES; ++l) sum += F::term(g.v[k][l], of.v[k][l]);   // 0 past the end
    sum = row_sum(sum);
#pragma unroll
    for (int k = 0; k < PACKS; ++k) {
        const int live = Row<PACKS>::live(k, n);
        if (live == 0) break;
#pragma unroll
        for (int l = 0; l < LANES; ++l) g.v[k][l] = F::result(g.v[k][l], of.v[k][l], sum);
        store_lanes(dx + line * n + Row<PACKS>::at(k), live, packed, g.v[k]);
    }
}

template <class F> __device__ void backward_along_block(const real* dy, const real* y, real* dx, int n) {
    __shared__ acc slots[32];
    const i64 at = (i64)blockIdx.x * n;
    acc sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += F::term(value(dy[at + i]), value(y[at + i]));
    sum = block_reduce<Sum>(sum, slots);
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        dx[at + i] = rounded(F::result(value(dy[at + i]), value(y[at + i]), sum));
}

template <class F>
__device__ void backward_across(const real* dy, const real* y, real* dx, i64 outer, int n, i64 inner) {
    for (GRID_STRIDE(line, outer * inner)) {
        const i64 at = line / inner * n * inner + line % inner;
        acc sum = 0;
        for (int i = 0; i < n; ++i) sum += F::term(value(dy[at + i * inner]), value(y[at + i * inner]));
        for (int i = 0; i < n; ++i)
            dx[at + i * inner] = rounded(F::result(value(dy[at + i * inner]), value(y[at + i * inner]), sum));
    }
}

extern "C" {
__global__ void __launch_bounds__(256) softmax_warp(const real* x, real* y, i64 lines, int n) {
    along_held<Softmax, 8 / LANES>(x, y, lines, n);
}
__global__ void __launch_bounds__(256, 2) softmax_wide_warp(const real* x, real* y, i64 lines, int n) {
    along_held<Softmax, 32 / LANES>(x, y, lines, n);
}
__global__ void __launch_bounds__(1024, 1) softmax_block(const real* x, real* y, i64 lines, int n) {
    along_held<Softmax, BLOCK_VALUES / LANES>(x, y, lines, n);
}
__global__ void __launch_bounds__(1024) softmax_long(const real* x, real* y, int n) {
    along_block<Softmax>(x, y, n);
}
__global__ void __launch_bounds__(256) softmax_across(const real* x, real* y, i64 outer, int n, i64 inner) {
    across<Softmax>(x, y, outer, n, inner);
}
__global__ void __launch_bounds__(256) log_softmax_warp(const real* x, real* y, i64 lines, int n) {
    along_held<LogSoftmax, 8 / LANES>(x, y, lines, n);
}
__global__ void __launch_bounds__(256, 2) log_softmax_wide_warp(const real* x, real* y, i64 lines, int n) {
    along_held<LogSoftmax, 32 / LANES>(x, y, lines, n);
}
__global__ void __launch_bounds__(1024, 1) log_softmax_block(const real* x, real* y, i64 lines, int n) {
    along_held<LogSoftmax, BLOCK_VALUES / LANES>(x, y, lines, n);
}
__global__ void __launch_bounds__(1024) log_softmax_long(const real* x, real* y, int n) {
    along_block<LogSoftmax>(x, y, n);
}
__global__ void __launch_bounds__(256, 4)
    log_softmax_across(const real* x, real* y, i64 outer, int n, i64 inner) {
    across<LogSoftmax>(x, y, outer, n, inner);
}
__global__ void __launch_bounds__(256)
    softmax_backward_warp(const real* dy, const real* y, real* dx, i64 lines, int n) {
    backward_along_held<SoftmaxBackward, 8 / LANES>(dy, y, dx, lines, n);
}
__global__ void __launch_bounds__(256, 1)
    softmax_backward_wide_warp(const real* dy, const real* y, real* dx, i64 lines, int n) {
    backward_along_held<SoftmaxBackward, 32 / LANES>(dy, y, dx, lines, n);
}
__global__ void __launch_bounds__(1024)
    softmax_backward_block(const real* dy, const real* y, real* dx, int n) {
    backward_along_block<SoftmaxBackward>(dy, y, dx, n);
}
__global__ void __launch_bounds__(256)
    softmax_backward_across(const real* dy, const real* y, real* dx, i64 outer, int n, i64 inner) {
    backward_across<SoftmaxBackward>(dy, y, dx, outer, n, inner);
}
__global__ void __launch_bounds__(256)
    log_softmax_backward_warp(const real* dy, const real* y, real* dx, i64 lines, int n) {
    backward_along_held<LogSoftmaxBackward, 8 / LANES>(dy, y, dx, lines, n);
}
__global__ void __launch_bounds__(256, 1)
    log_softmax_backward_wide_warp(const real* dy, const real* y, real* dx, i64 lines, int n) {
    backward_along_held<LogSoftmaxBackward, 32 / LANES>(dy, y, dx, lines, n);
}
__global__ void __launch_bounds__(1024)
    log_softmax_backward_block(const real* dy, const real* y, real* dx, int n) {
    backward_along_block<LogSoftmaxBackward>(dy, y, dx, n);
}
__global__ void __launch_bounds__(256)
    log_softmax_backward_across(const real* dy, const real* y, real* dx, i64 outer, int n, i64 inner) {
    backward_across<LogSoftmaxBackward>(dy, y, dx, outer, n, inner);
}
}
