// How losses are reduced: a block's losses and weights to one pair, then all pairs by one block, in
// double, in an order that depends on their number alone.
#pragma once
#include "reduce.cuh"

constexpr acc BY_WEIGHT = -1;

// Called by every thread of the block: partial[block] = (sum of losses, sum of weights).
__device__ __forceinline__ void block_sums(acc loss, acc weight, acc* partial) {
    __shared__ acc slots[32];
    loss = block_reduce<Sum>(loss, slots);
    weight = block_reduce<Sum>(weight, slots);
    if (threadIdx.x == 0) {
        partial[2 * blockIdx.x] = loss;
        partial[2 * blockIdx.x + 1] = weight;
    }
}

// y = the sum of n pairs divided by count, or by their weights; and what it was divided by. No y:
// only that. One block of 256 threads.
__device__ __forceinline__ void finish_sums(const acc* partial, int n, acc count, real* y, real* divisor) {
    __shared__ double loss[256], weight[256];
    double a = 0, b = 0;
    for (int i = threadIdx.x; i < n; i += 256) {
        a += partial[2 * i];
        b += partial[2 * i + 1];
    }
    loss[threadIdx.x] = a;
    weight[threadIdx.x] = b;
    for (int half = 128; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x >= half) continue;
        loss[threadIdx.x] += loss[threadIdx.x + half];
        weight[threadIdx.x] += weight[threadIdx.x + half];
    }
    if (threadIdx.x) return;
    const double by = count == BY_WEIGHT ? weight[0] : double(count);
    if (y) *y = rounded(acc(loss[0] / by));
    *divisor = rounded(acc(by));
}
