// A row of memory held in registers by a warp or by a block: blockDim.x threads a row, blockDim.y
// rows (1 unless a row is a warp's). Thread t has the packets t, t + blockDim.x ..., whether or not
// they can be loaded as packets, so that sums do not depend on alignment.
#pragma once
#include "batch_norm/moments.cuh"

__device__ __forceinline__ acc row_sum(acc v) {
    __shared__ acc slots[32];
    return blockDim.x == 32 ? warp_reduce<Sum>(v) : block_reduce<Sum>(v, slots);
}

template <int PACKS> struct Row {
    acc v[PACKS][LANES];

    static __device__ __forceinline__ int at(int k) { return (k * blockDim.x + threadIdx.x) * LANES; }
    static __device__ __forceinline__ int live(int k, int cols) { return max(0, min(LANES, cols - at(k))); }

    __device__ __forceinline__ void load(const real* p, int cols, bool packed) {
#pragma unroll
        for (int k = 0; k < PACKS; ++k) load_lanes(p + at(k), live(k, cols), packed, v[k]);
    }

    __device__ __forceinline__ acc sum() const {
        acc all = 0;
#pragma unroll
        for (int k = 0; k < PACKS; ++k)
#pragma unroll
            for (int l = 0; l < LANES; ++l) all += v[k][l];
        return row_sum(all);
    }

    // sum of (v - mean)^2
    __device__ __forceinline__ acc squares(acc mean, int cols) const {
        acc all = 0;
#pragma unroll
        for (int k = 0; k < PACKS; ++k)
#pragma unroll
            for (int l = 0; l < LANES; ++l) {
                const acc d = l < live(k, cols) ? v[k][l] - mean : acc(0);
                all += d * d;
            }
        return row_sum(all);
    }
};
