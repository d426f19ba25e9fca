// softmax and log_softmax along an axis of x seen as (outer, n, inner), and their gradients.
//
// A line is reduced twice, for its maximum and for the sum of e^(x - max), by one of three shapes
// of work: lines that lie along memory (inner = 1) by a warp each where short, by a block each
// where long; lines across memory by a thread each, so that a warp's threads read neighbours.
#include "reduce.cuh"
#include "index.cuh"

struct Softmax {
    static __device__ acc term(acc x, acc peak) { return exp(x - peak); }
    static __device__ acc result(acc x, acc peak, acc sum) { return exp(x - peak) / sum; }
};
struct LogSoftmax {
    static __device__ acc term(acc x, acc peak) { return exp(x - peak); }
    static __device__ acc result(acc x, acc peak, acc sum) { return x - peak - log(sum); }
};

template <class F> __device__ void along_warp(const real* x, real* y, i64 lines, int n) {
    const int lane = threadIdx.x & 31;
    const i64 line = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
    if (line >= lines) return;
    x += line * n;
    y += line * n;
    acc peak = -infinity(), sum = 0;
    for (int i = lane; i < n; i += 32) peak = larger(peak, value(x[i]));
    peak = warp_reduce<Max>(peak);
    for (int i = lane; i < n; i += 32) sum += F::term(value(x[i]), peak);
    sum = warp_reduce<Sum>(sum);
    for (int i = lane; i < n; i += 32) y[i] = rounded(F::result(value(x[i]), peak, sum));
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

template <class F>
__device__ void backward_along_warp(const real* dy, const real* y, real* dx, i64 lines, int n) {
    const int lane = threadIdx.x & 31;
    const i64 line = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
    if (line >= lines) return;
    const i64 at = line * n;
    acc sum = 0;
    for (int i = lane; i < n; i += 32) sum += F::term(value(dy[at + i]), value(y[at + i]));
    sum = warp_reduce<Sum>(sum);
    for (int i = lane; i < n; i += 32)
        dx[at + i] = rounded(F::result(value(dy[at + i]), value(y[at + i]), sum));
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
    along_warp<Softmax>(x, y, lines, n);
}
__global__ void __launch_bounds__(1024) softmax_block(const real* x, real* y, int n) {
    along_block<Softmax>(x, y, n);
}
__global__ void __launch_bounds__(256) softmax_across(const real* x, real* y, i64 outer, int n, i64 inner) {
    across<Softmax>(x, y, outer, n, inner);
}
__global__ void __launch_bounds__(256) log_softmax_warp(const real* x, real* y, i64 lines, int n) {
    along_warp<LogSoftmax>(x, y, lines, n);
}
__global__ void __launch_bounds__(1024) log_softmax_block(const real* x, real* y, int n) {
    along_block<LogSoftmax>(x, y, n);
}
__global__ void __launch_bounds__(256, 4)
    log_softmax_across(const real* x, real* y, i64 outer, int n, i64 inner) {
    across<LogSoftmax>(x, y, outer, n, inner);
}
__global__ void __launch_bounds__(256)
    softmax_backward_warp(const real* dy, const real* y, real* dx, i64 lines, int n) {
    backward_along_warp<SoftmaxBackward>(dy, y, dx, lines, n);
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
    backward_along_warp<LogSoftmaxBackward>(dy, y, dx, lines, n);
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
