// The products within a step, for a few samples times all rows of a matrix, in two forms.
//
// resident_product   a block that keeps its samples from the first step to the last: their vectors
//                    lie in shared memory, and of the
//                    matrix as many rows as fit; the rest comes from the second-level cache at
//                    every step.
// step_product       a launch a step: a block makes 16 units of up to 16 samples.
//
// Both split the depth among threads, every splits-th row each, and add the parts in order.
// How many parts there are depends on the matrix alone, so a sample's result does not
// depend on its neighbours.
#pragma once
#include "layout.cuh"
#include "ptx.cuh"

constexpr int RESIDENT_THREADS = 512;   // at most: leaves each registers for many rows on their way

template <int S> struct alignas(S * sizeof(acc) < 16 ? S * sizeof(acc) : 16) Samples { acc v[S]; };

// A copy from global to shared memory that goes on beside what follows; arrived() must come before
// the barrier behind which it is read
__device__ __forceinline__ void copy_beside(Pack* to, const Pack* from) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    *to = *from;
#else
    cp_async16(to, from, true);
#endif
}
__device__ __forceinline__ void arrived() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    cp_async_commit();
    cp_async_wait<0>();
#endif
}

template <int S> __device__ __forceinline__ void add_row(acc (&sum)[S], const acc* vector, acc w) {
    const Samples<S> a = *(const Samples<S>*)vector;
#pragma unroll
    for (int s = 0; s < S; ++s) sum[s] += a.v[s] * w;
}

// parts[split][sample][column] of vectors[k][sample] times w[k][column]; the first `kept` rows
// are in shared memory too
template <int S>
__device__ void resident_product(const acc* vectors, const real* here, int kept, const real* w, int depth,
                                 int columns, int splits, acc* parts) {
    for (int item = threadIdx.x; item < columns * splits; item += blockDim.x) {
        const int split = item / columns, column = item - split * columns;
        acc sum[S] = {};
        int k = split;
#pragma unroll 4
        for (; k < kept; k += splits) add_row<S>(sum, vectors + k * S, value(here[k * columns + column]));
#pragma unroll 8
        for (; k < depth; k += splits) add_row<S>(sum, vectors + k * S, value(w[k * columns + column]));
#pragma unroll
        for (int s = 0; s < S; ++s) parts[(split * S + s) * columns + column] = sum[s];
    }
}
// The value of one column for one sample
template <int S>
__device__ __forceinline__ acc resident_sum(const acc* parts, int splits, int columns, int s, int column) {
    acc sum = 0;
    for (int i = 0; i < splits; ++i) sum += parts[(i * S + s) * columns + column];
    return sum;
}

constexpr int UNITS = 16, WIDE = 16;   // units and samples of a block
// rows of the vectors in shared memory at a time; written without bank conflicts by 8 rows
constexpr int CHUNK = 256, WIDE_PITCH = WIDE + 4;
                                                    // times 4 samples, read as packets of 4 samples

__device__ __forceinline__ int thread_of_block() {
    return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}

// The block is (columns, groups of 4 samples, splits). from: in shared memory, a vector of each
// sample or null for zeros. Parts lie in `shared` afterwards, which holds max(CHUNK *
// WIDE_PITCH, threads * 4) values.
__device__ inline void step_product(const real* const* from, const real* w, int pitch, int column,
                                    bool inside, int depth, acc* shared) {
    const int threads = blockDim.x * blockDim.y * blockDim.z, thread = thread_of_block();
    const int splits = blockDim.z, split = threadIdx.z, samples = 4 * blockDim.y;
    acc sum[4] = {};
    for (int k0 = 0; k0 < depth; k0 += CHUNK) {
        const int count = depth - k0 < CHUNK ? depth - k0 : CHUNK;
        __syncthreads();
        for (int i = thread; i < CHUNK * samples; i += threads) {
            const int k = i / (8 * samples) * 8 + i % 8, n = i / 8 % samples;
            if (k < count) shared[k * WIDE_PITCH + n] = from[n] ? value(from[n][k0 + k]) : acc(0);
        }
        __syncthreads();
        if (!inside) continue;
#pragma unroll 8
        for (int k = split; k < count; k += splits)
            add_row<4>(sum, shared + k * WIDE_PITCH + 4 * threadIdx.y,
                       value(w[(i64)(k0 + k) * pitch + column]));
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; ++i)
        shared[(split * samples + 4 * threadIdx.y + i) * blockDim.x + threadIdx.x] = sum[i];
    __syncthreads();
}
__device__ __forceinline__ acc step_sum(const acc* parts, int n, int column) {
    acc sum = 0;
    for (int i = 0; i < (int)blockDim.z; ++i) sum += parts[(i * 4 * blockDim.y + n) * blockDim.x + column];
    return sum;
}
// Runs each(n, unit) for the block's samples and units, each by one thread
template <class F> __device__ void each_unit(int samples, int units, F each) {
    const int threads = blockDim.x * blockDim.y * blockDim.z, thread = thread_of_block();
    const int first_n = blockIdx.y * 4 * blockDim.y, first = blockIdx.x * UNITS;
    for (int i = thread; i < 4 * (int)blockDim.y * UNITS; i += threads) {
        const int n = i / UNITS, u = i % UNITS;
        if (first_n + n < samples && first + u < units) each(n, u);
    }
}
