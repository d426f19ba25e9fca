// batch_norm in training, of channels that a block holds in its registers: one kernel, and x (and
// dy) come from memory once. For as many channels as there are multiprocessors, or nearly; fewer or
// longer ones are cut into pieces (cuda.cu).
#include "lines.cuh"

constexpr int WIDE = sizeof(acc) == 8;   // 64 registers a thread hold this where a block has 1024:
constexpr int FORWARD = (WIDE ? 8 : 16) / LANES;       // packets of x,
constexpr int BACKWARD = (WIDE ? 4 : 8) / LANES;       // or of x and of dy

__device__ __forceinline__ acc block_sum(acc v) {
    __shared__ acc slots[32];
    return block_reduce<Sum>(v, slots);
}
__device__ __forceinline__ int place(int k) { return (k * blockDim.x + threadIdx.x) * LANES; }

extern "C" {
__global__ void __launch_bounds__(1024)
    batch_norm_block(const real* x, const real* weight, const real* bias, acc eps, real* y, acc* mean,
                     acc* var, int samples, int run) {
    const int c = blockIdx.x, values = samples * run;
    const i64 from = (i64)c * run;
    const Line line{run, (i64)gridDim.x * run, run % LANES == 0 && aligned(x) && aligned(y)};
    acc v[FORWARD][LANES], sum = 0, squares = 0;
    int live[FORWARD];
#pragma unroll
    for (int k = 0; k < FORWARD; ++k) {
        live[k] = line.load(x + from, place(k), values, v[k]);
#pragma unroll
        for (int l = 0; l < LANES; ++l) sum += v[k][l];
    }
    const acc m = block_sum(sum) / acc(values);
#pragma unroll
    for (int k = 0; k < FORWARD; ++k)
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            const acc d = l < live[k] ? v[k][l] - m : acc(0);
            squares += d * d;
        }
    const acc variance = block_sum(squares) / acc(values);
    const acc scale = reciprocal_deviation(variance, eps) * (weight ? value(weight[c]) : acc(1)),
              shift = bias ? value(bias[c]) : acc(0);
    if (threadIdx.x == 0) {
        mean[c] = m;
        var[c] = variance;
    }
#pragma unroll
    for (int k = 0; k < FORWARD; ++k) {
#pragma unroll
        for (int l = 0; l < LANES; ++l) v[k][l] = (v[k][l] - m) * scale + shift;
        line.store(y + from, place(k), live[k], v[k]);
    }
}

// dx = (dy - share (dbias + n dweight)) rstd weight with n = (x - mean) rstd
__global__ void __launch_bounds__(1024)
    batch_norm_backward_block(const real* dy, const real* x, const real* weight, const acc* mean,
                              const acc* var, acc eps, acc share, real* dx, real* dweight, real* dbias,
                              int samples, int run) {
    const int c = blockIdx.x, values = samples * run;
    const i64 from = (i64)c * run;
    const Line line{run, (i64)gridDim.x * run, run % LANES == 0 && aligned(dy) && aligned(x) && aligned(dx)};
    const acc m = mean[c], rstd = reciprocal_deviation(var[c], eps),
              scale = rstd * (weight ? value(weight[c]) : acc(1));
    acc g[BACKWARD][LANES], n[BACKWARD][LANES], a = 0, b = 0;
    int live[BACKWARD];
#pragma unroll
    for (int k = 0; k < BACKWARD; ++k) {
        live[k] = line.load(dy + from, place(k), values, g[k]);
        line.load(x + from, place(k), values, n[k]);
#pragma unroll
        for (int l = 0; l < LANES; ++l) {   // a dead lane's g is 0
            n[k][l] = (n[k][l] - m) * rstd;
            a += g[k][l];
            b += g[k][l] * n[k][l];
        }
    }
    a = block_sum(a);
    b = block_sum(b);
    if (threadIdx.x == 0) {
        dbias[c] = rounded(a);
        dweight[c] = rounded(b);
    }
    a *= share;
    b *= share;
#pragma unroll
    for (int k = 0; k < BACKWARD; ++k) {
#pragma unroll
        for (int l = 0; l < LANES; ++l) n[k][l] = (g[k][l] - a - n[k][l] * b) * scale;
        line.store(dx + from, place(k), live[k], n[k]);
    }
}
}
