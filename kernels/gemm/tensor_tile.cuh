// A block's tile of a product on tensor cores, from tiles of its operands in shared memory: each
// warp holds WM x WN sums.
#pragma once
#include "tensor_unit.cuh"
#include "tiles.cuh"

template <int BM, int BN, int WM, int WN, bool A_BY_ROWS, bool B_BY_ROWS> struct TensorTile {
    static constexpr int ACROSS = BN / WN, THREADS = BM / WM * ACROSS * 32, MI = WM / 16, NI = WN / 8;
    static constexpr int PA = A_BY_ROWS ? BM + PAD_ROWS : DEEP + PAD,
                         PB = B_BY_ROWS ? BN + PAD_ROWS : DEEP + PAD;
    static constexpr int SIZE_A = (A_BY_ROWS ? DEEP : BM) * PA, SIZE_B = (B_BY_ROWS ? DEEP : BN) * PB,
                         STAGE = SIZE_A + SIZE_B;
    acc sum[MI][NI][4] = {};

    static __device__ __forceinline__ int top() { return (threadIdx.x >> 5) / ACROSS * WM; }
    static __device__ __forceinline__ int left() { return (threadIdx.x >> 5) % ACROSS * WN; }

    // Adds the product of two tiles, DEEP deep.
    __device__ __forceinline__ void add(const real* a, const real* b) {
#pragma unroll
        for (int k = 0; k < DEEP; k += STEP) {
            Right right[NI];
#pragma unroll
            for (int j = 0; j < NI; j += 2) read<B_BY_ROWS, PB>(b, left() + j * 8, k, right[j], right[j + 1]);
#pragma unroll
            for (int i = 0; i < MI; ++i) {
                Left l;
                read<A_BY_ROWS, PA>(a, top() + i * 16, k, l);
#pragma unroll
                for (int j = 0; j < NI; ++j) multiply(sum[i][j], l, right[j]);
            }
        }
    }

    // Calls f(find(column), row, value, value of the next column) for this thread's sums: what a column's
    // place takes to find is found once. Columns are even.
    template <class Find, class F> __device__ __forceinline__ void each_of_columns(Find find, F f) const {
        const int row = top() + (threadIdx.x >> 2 & 7), column = left() + (threadIdx.x & 3) * 2;
#pragma unroll
        for (int j = 0; j < NI; ++j) {
            const auto found = find(column + j * 8);
#pragma unroll
            for (int i = 0; i < MI; ++i)
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    f(found, row + i * 16 + half * 8, sum[i][j][half * 2], sum[i][j][half * 2 + 1]);
        }
    }

    // Calls f(row, column, value, value of the next column) for this thread's sums; columns are even.
    template <class F> __device__ __forceinline__ void each(F f) const {
        const int row = top() + (threadIdx.x >> 2 & 7), column = left() + (threadIdx.x & 3) * 2;
#pragma unroll
        for (int i = 0; i < MI; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half)
#pragma unroll
                for (int j = 0; j < NI; ++j)
                    f(row + i * 16 + half * 8, column + j * 8, sum[i][j][half * 2], sum[i][j][half * 2 + 1]);
    }
};

// Line and place of packet v of a tile whose lines are DEEP long, four packets: eight threads
// take 32 bytes each of four lines, a whole sector of memory, such that no two of their
// packets share a bank.
__device__ __forceinline__ void spread_packets(int v, int& line, int& along) {
    const int four = v >> 1 & 3, odd = v >> 3 & 1;
    line = v / 32 * 8 + (sizeof(real) == 8 ? four + odd * 4 : four * 2 + odd);
    along = ((v & 1) + (v >> 4 & 1) * 2) * LANES;
}

// Runs `stages` of loads ahead of the product: load(stage, step) starts a tile's copies, add(stage)
// uses what they brought. A slot of shared memory is filled again one step after it was read, so
// that one barrier a step is enough.
template <int STAGES, class Load, class Add>
__device__ __forceinline__ void pipeline(int steps, Load load, Add add) {
    // from the first load on, so that the code of one, which is long, stands here once
#pragma unroll 1
    for (int step = 1 - STAGES, to = 0; step < steps; ++step) {
        if (step >= 0) {
            cp_async_wait<STAGES - 2>();
            __syncthreads();
        }
        const int ahead = step + STAGES - 1, slot = to;
        to = to + 1 == STAGES ? 0 : to + 1;
        if (ahead < steps) load(slot, ahead);
        cp_async_commit();
        if (step >= 0) add(to);
    }
}
