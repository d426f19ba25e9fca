// delta = sum of dy y of every query, which the gradient of attention needs (backward.cu,
// tensor_backward.cu): a module of its own, for it is the same whatever form these have.
#include "reduce.cuh"

extern "C" {
// A warp a query
__global__ void __launch_bounds__(256)
    attention_delta(const real* dy, const real* y, acc* delta, i64 lines, int values) {
    const i64 line = (i64)blockIdx.x * 8 + (threadIdx.x >> 5);
    if (line >= lines) return;
    acc sum = 0;
    for (int i = threadIdx.x & 31; i < values; i += 32)
        sum += value(dy[line * values + i]) * value(y[line * values + i]);
    sum = warp_reduce<Sum>(sum);
    if ((threadIdx.x & 31) == 0) delta[line] = sum;
}
}
