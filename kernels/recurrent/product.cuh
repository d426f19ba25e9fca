// Products of whole layers, c = a b: a block of 256 threads makes 64 x 64 values, each thread 4 x 4, over steps of 16 of the depth whose
// operands wait in shared memory while those of the next step are on their way to registers. Sums are chains in the order of the depth.
//
// An operand says at(i, outer, k): its value at k for the outer index `outer` of the block, the i-th that this thread loads; 0 outside.
#pragma once
#include "layout.cuh"

constexpr int TILE = 64, DEPTH = 16, THREADS = 256, EACH = TILE * DEPTH / THREADS;
struct alignas(16) Four { acc v[4]; };
struct alignas(16) Tile { acc v[DEPTH][TILE + 4]; };   // rows stay aligned; columns are written by lanes a few banks apart

// Rows along the depth, through a table of rows if there is one
struct AlongDepth {
    const real* row[EACH];
    int depth;
    __device__ AlongDepth(const real* p, i64 pitch, const int* table, int first, int rows, int depth) : depth(depth) {
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
// A matrix [depth][columns]
struct AcrossDepth {
    const real* p;   // at this thread's column
    i64 pitch;
    int depth;
    bool inside;
    __device__ AcrossDepth(const real* base, i64 pitch, int first, int columns, int depth)
        : p(base + first + outer(0)), pitch(pitch), depth(depth), inside(first + outer(0) < columns) {}
    __device__ static int outer(int) { return threadIdx.x % TILE; }
    __device__ static int inner(int i) { return threadIdx.x / TILE + i * (THREADS / TILE); }
    __device__ acc at(int, int k) const { return inside && k < depth ? value(p[k * pitch]) : acc(0); }
};

template <class A, class B>
__device__ void accumulate(acc (&sum)[4][4], const A& a, const B& b, int begin, int end, Tile& left, Tile& right) {
    acc next_a[EACH], next_b[EACH];
    const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
    auto fetch = [&](int k0) {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            next_a[i] = k0 + A::inner(i) < end ? a.at(i, k0 + A::inner(i)) : acc(0);
            next_b[i] = k0 + B::inner(i) < end ? b.at(i, k0 + B::inner(i)) : acc(0);
        }
    };
    fetch(begin);
    for (int k0 = begin; k0 < end; k0 += DEPTH) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            left.v[A::inner(i)][A::outer(i)]  = next_a[i];
            right.v[B::inner(i)][B::outer(i)] = next_b[i];
        }
        __syncthreads();
        if (k0 + DEPTH < end) fetch(k0 + DEPTH);
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
            const Four x = *(const Four*)&left.v[k][row], w = *(const Four*)&right.v[k][column];
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) sum[i][j] += x.v[i] * w.v[j];
        }
    }
}

// store(row, column, value) of the block's part within (rows, columns)
template <class Store> __device__ void each_value(const acc (&sum)[4][4], int first_row, int first_column, int rows, int columns, Store store) {
    const int row = first_row + threadIdx.x / 16 * 4, column = first_column + threadIdx.x % 16 * 4;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (row + i < rows && column + j < columns) store(row + i, column + j, sum[i][j]);
}
