// Indices: up to eight integers handed over by value, and loops over more elements than there are threads.
#pragma once
#include "real.cuh"

struct Dims {
    int v[8];
    int n;
    __device__ __forceinline__ int operator[](int i) const { return v[i]; }
};

__device__ __forceinline__ i64 thread_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ i64 thread_count() { return (i64)gridDim.x * blockDim.x; }

// for (GRID_STRIDE(i, n)) ... : every i below n once, whatever the grid.
#define GRID_STRIDE(i, n) i64 i = thread_index(); i < (n); i += thread_count()
