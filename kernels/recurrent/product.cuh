// Products of whole layers, c = a b: a block of 256 threads makes 128 x 64 values (of doubles
// 64 x 64), each thread 8 x 4 (4 x 4), over steps of 16 of the depth whose operands wait in
// shared memory while those of the next step are on their way to registers. Sums are chains in
// the order of the depth.
//
// An operand says at(i, k): its value for the outer index that this thread loads as its
// i-th, at k; 0 outside.
#pragma once
#include "layout.cuh"

// OWN: a thread's rows
constexpr int HEIGHT = sizeof(acc) == 8 ? 64 : 128, WIDTH = 64, DEPTH = 16, THREADS = 256, OWN = HEIGHT / 16;
struct alignas(16) Four { acc v[4]; };
// rows stay aligned; columns are written by lanes a few banks apart
template <int N> struct alignas(16) Tile { acc v[DEPTH][N + 4]; };

// Rows along the depth, through a table of rows if there is one
struct AlongDepth {
    static constexpr int EACH = HEIGHT * DEPTH / THREADS;
    const real* row[EACH];
    int depth;
    __device__ AlongDepth(const real* p, i64 pitch, const int* table, int first, int rows, int depth)
        : depth(depth) {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int r = first + outer(i);
            row[i] = r < rows ? p + (table ? table[r] : r) * pitch : nullptr;
        }
    }
    __device__ static int outer(int i) { return threadIdx.x / DEPTH + i * (THREADS / DEPTH); }
    __device__ static int inner(int) { return threadIdx.x % DEPTH; }
    __device__ acc at(int i, int k) const { return row[i] && k < depth ? value(row[i][k]) : acc(0); }
};
// Which of N outer indices and of the depth a thread loads where neighbours lie across the depth
template <int N> struct Across {
    static constexpr int EACH = N * DEPTH / THREADS;
    __device__ static int outer(int) { return threadIdx.x % N; }
    __device__ static int inner(int i) { return threadIdx.x / N + i * (THREADS / N); }
};
// A matrix [depth][columns]
template <int N> struct AcrossDepth : Across<N> {
    const real* p;   // at this thread's column
    i64 pitch;
    int depth;
    bool inside;
    __device__ AcrossDepth(const real* base, i64 pitch, int first, int columns, int depth)
        : p(base + first + Across<N>::outer(0)), pitch(pitch), depth(depth),
          inside(first + Across<N>::outer(0) < columns) {}
    __device__ acc at(int, int k) const { return inside && k < depth ? value(p[k * pitch]) : acc(0); }
};

// Where a thread's i-th row lies in the tile: fours 64 apart, so that a warp's reads are of two addresses
__device__ __forceinline__ int tile_row(int i) { return i / 4 * 64 + threadIdx.x / 16 * 4 + i % 4; }
__device__ __forceinline__ int tile_column() { return threadIdx.x % 16 * 4; }

__device__ __forceinline__ void multiply(acc (&sum)[OWN][4], const Tile<HEIGHT>& left,
                                         const Tile<WIDTH>& right, int k) {
    const Four w = *(const Four*)&right.v[k][tile_column()];
#pragma unroll
    for (int g = 0; g < OWN; g += 4) {
        const Four x = *(const Four*)&left.v[k][tile_row(g)];
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) sum[g + i][j] += x.v[i] * w.v[j];
    }
}

template <class A, class B>
__device__ void accumulate(acc (&sum)[OWN][4], const A& a, const B& b, int begin, int end, Tile<HEIGHT>& left,
                           Tile<WIDTH>& right) {
    acc next_a[A::EACH], next_b[B::EACH];
    auto fetch = [&](int k0) {
#pragma unroll
        for (int i = 0; i < A::EACH; ++i)
            next_a[i] = k0 + A::inner(i) < end ? a.at(i, k0 + A::inner(i)) : acc(0);
#pragma unroll
        for (int i = 0; i < B::EACH; ++i)
            next_b[i] = k0 + B::inner(i) < end ? b.at(i, k0 + B::inner(i)) : acc(0);
    };
    fetch(begin);
    for (int k0 = begin; k0 < end; k0 += DEPTH) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < A::EACH; ++i) left.v[A::inner(i)][A::outer(i)] = next_a[i];
#pragma unroll
        for (int i = 0; i < B::EACH; ++i) right.v[B::inner(i)][B::outer(i)] = next_b[i];
        __syncthreads();
        if (k0 + DEPTH < end) fetch(k0 + DEPTH);
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) multiply(sum, left, right, k);
    }
}

// store(row, column, value) of the block's part within (rows, columns)
template <class Store>
__device__ void each_value(const acc (&sum)[OWN][4], int first_row, int first_column, int rows, int columns,
                           Store store) {
#pragma unroll
    for (int i = 0; i < OWN; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int row = first_row + tile_row(i), column = first_column + tile_column() + j;
            if (row < rows && column < columns) store(row, column, sum[i][j]);
        }
}
