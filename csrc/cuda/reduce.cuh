// Reductions over a warp and over a block. The order of additions depends on the block's size
// alone, never on timing.
#pragma once
#include "real.cuh"
constexpr unsigned WARP = 0xffffffffu;

struct Sum {
    __device__ static __forceinline__ acc none() { return 0; }
    __device__ static __forceinline__ acc join(acc a, acc b) { return a + b; }
};
struct Max {
    __device__ static __forceinline__ acc none() { return -infinity(); }
    __device__ static __forceinline__ acc join(acc a, acc b) { return larger(a, b); }
};
struct Min {
    __device__ static __forceinline__ acc none() { return infinity(); }
    __device__ static __forceinline__ acc join(acc a, acc b) { return smaller(a, b); }
};

// The same value in every lane: xor partners give both sides the same sum.
template <class R> __device__ __forceinline__ acc warp_reduce(acc v) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) v = R::join(v, __shfl_xor_sync(WARP, v, step));
    return v;
}

// Over the whole block (any multiple of 32 threads, at most 1024), the same value in every thread.
// `slots` is shared memory for 32 values; it may be used again at once.
template <class R> __device__ __forceinline__ acc block_reduce(acc v, acc* slots) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    v = warp_reduce<R>(v);
    if (lane == 0) slots[warp] = v;
    __syncthreads();
    v = warp_reduce<R>(lane < warps ? slots[lane] : R::none());
    __syncthreads();
    return v;
}
