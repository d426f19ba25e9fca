// What a block that keeps its samples from the first step to the last does before it, forward and back.
#pragma once
#include "steps.cuh"

#ifndef SAMPLES
#define SAMPLES 4   // of a block
#endif

// The lengths of samples `first` .., 0 of those that there are not; `count` values of the matrix w to shared
// memory; own(): what else begins. Returns the greatest length.
template <int S, class Own>
__device__ __forceinline__ int begin_resident(int (&length)[S], const Order& order, int first, int samples,
                                              const real* w, int count, real* here, Own own) {
    if (threadIdx.x < S)
        length[threadIdx.x] = first + (int)threadIdx.x < samples ? order.length(first + threadIdx.x) : 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) here[i] = w[i];
    own();
    __syncthreads();
    int longest = 0;
    for (int s = 0; s < S; ++s) longest = max(longest, length[s]);
    return longest;
}
