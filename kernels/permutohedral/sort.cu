// A stable sort of numbers and what belongs to them, by a digit of four bits: digits are counted by tiles,
// counts summed, and each number put behind those of smaller digits and those of its own digit that come
// before it. The same sum numbers the vertices (lattice.cu).
#include "index.cuh"

constexpr int THREADS = 256, WARPS = THREADS / 32, ROUNDS = 4, TILE = THREADS * ROUNDS, DIGITS = 16;

__device__ __forceinline__ int digit_of(unsigned number, int shift) { return number >> shift & (DIGITS - 1); }

// The lanes of the warp whose digit is the same; those that are not there have 16
__device__ __forceinline__ unsigned alike(int digit) {
    unsigned lanes = 0xffffffffu;
#pragma unroll
    for (int bit = 0; bit < 5; ++bit) {
        const bool set = digit >> bit & 1;
        const unsigned have = __ballot_sync(0xffffffffu, set);
        lanes &= set ? have : ~have;
    }
    return lanes;
}

extern "C" {
// counts (16, tiles)
__global__ void __launch_bounds__(THREADS)
    sort_count(const unsigned* numbers, int n, int shift, int* counts) {
    __shared__ int found[DIGITS];
    if (threadIdx.x < DIGITS) found[threadIdx.x] = 0;
    __syncthreads();
    const i64 first = (i64)blockIdx.x * TILE;
    for (int r = 0; r < ROUNDS; ++r) {
        const i64 i = first + r * THREADS + threadIdx.x;
        if (i < n) atomicAdd(found + digit_of(numbers[i], shift), 1);
    }
    __syncthreads();
    if (threadIdx.x < DIGITS) counts[(i64)threadIdx.x * gridDim.x + blockIdx.x] = found[threadIdx.x];
}

// One block: each value becomes the sum of those before it
__global__ void __launch_bounds__(1024) sort_sum(int* values, int n) {
    __shared__ int warps[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int before = 0;   // the sum of what lies before this round
    for (i64 first = 0; first < n; first += 1024) {
        const i64 i = first + threadIdx.x;
        const int own = i < n ? values[i] : 0;
        int sum = own;
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            const int other = __shfl_up_sync(0xffffffffu, sum, step);
            if (lane >= step) sum += other;
        }
        if (lane == 31) warps[warp] = sum;
        __syncthreads();
        int all = warps[lane];
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            const int other = __shfl_up_sync(0xffffffffu, all, step);
            if (lane >= step) all += other;
        }
        const int of_warps = __shfl_sync(0xffffffffu, all, warp ? warp - 1 : 0),
                  total = __shfl_sync(0xffffffffu, all, 31);
        if (i < n) values[i] = before + (warp ? of_warps : 0) + sum - own;
        before += total;
        __syncthreads();   // all have read the warps' sums
    }
}

// offsets (16, tiles): where the numbers of a digit and a tile begin
__global__ void __launch_bounds__(THREADS) sort_put(const unsigned* numbers, const int* own, int n, int shift,
                                                    const int* offsets, unsigned* sorted, int* beside) {
    __shared__ int next[DIGITS], found[WARPS][DIGITS];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    if (threadIdx.x < DIGITS) next[threadIdx.x] = offsets[(i64)threadIdx.x * gridDim.x + blockIdx.x];
    const i64 first = (i64)blockIdx.x * TILE;
    for (int r = 0; r < ROUNDS; ++r) {
        const i64 i = first + r * THREADS + threadIdx.x;
        const unsigned number = i < n ? numbers[i] : 0;
        const int digit = i < n ? digit_of(number, shift) : DIGITS;
        const unsigned same = alike(digit);
        const int rank = __popc(same & ((1u << lane) - 1));
        if (lane < DIGITS) found[warp][lane] = 0;
        __syncwarp();
        if (rank == 0 && digit < DIGITS) found[warp][digit] = __popc(same);
        __syncthreads();
        if (digit < DIGITS) {
            int at = next[digit] + rank;
            for (int w = 0; w < warp; ++w) at += found[w][digit];
            sorted[at] = number;
            beside[at] = own[i];
        }
        __syncthreads();
        if (threadIdx.x < DIGITS)
            for (int w = 0; w < WARPS; ++w) next[threadIdx.x] += found[w][threadIdx.x];
        __syncthreads();
    }
}
}
