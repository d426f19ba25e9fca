// Products of tiles, for attention: 256 threads as 16 x 16, each with R x R scores of a TILE x TILE
// tile, or with R rows and COLUMNS columns of a result (COLUMNS is defined at the launch). Operands
// pass through shared memory in slices, transposed where the sum runs along memory, so that a
// thread reads its R neighbours as one packet; rows are padded by a packet, which spreads the
// transposed stores over the banks.
//
// Any depth: a slice is DEPTH deep, and what lies beyond an operand's rows or columns is zero.
#pragma once
#include "heads.cuh"
#include "ptx.cuh"

#ifndef COLUMNS
#define COLUMNS 8
#endif

constexpr int R = sizeof(acc) == 8 ? 2 : 4, TILE = 16 * R, PITCH = TILE + 16 / sizeof(acc), DEPTH = 32,
              WIDTH = 16 * COLUMNS;
// values: two transposed slices or a straight one
constexpr int SLICES = DEPTH * (2 * PITCH > WIDTH ? 2 * PITCH : WIDTH);

struct Rank {
    const int x = threadIdx.x & 15, y = threadIdx.x >> 4;
};

// slice[e][i] = m[row + i][column + e], i < TILE, e < DEPTH; the first rows may lie before the
// matrix. A thread moves a packet; a warp
// takes 32 bytes (of half types 16) of neighbouring rows, so that its stores of one e fall
// into different banks.
__device__ __forceinline__ void load_transposed(const Matrix& m, int row, int column, acc* slice) {
    constexpr int ACROSS = LANES < 8 ? 8 / LANES : 1, ROWS = 32 / ACROSS, GROUPS = DEPTH / (ACROSS * LANES);
#pragma unroll
    for (int t = threadIdx.x; t < TILE * DEPTH / LANES; t += 256) {
        const int warp = t / 32, e = (t % ACROSS + warp % GROUPS * ACROSS) * LANES,
                  i = t % 32 / ACROSS + warp / GROUPS * ROWS;
        acc v[LANES];
        load_lanes(m.data + (i64)(row + i) * m.stride + column + e,
                   (unsigned)(row + i) < (unsigned)m.rows ? m.columns - column - e : 0, m.packed, v);
#pragma unroll
        for (int l = 0; l < LANES; ++l) slice[(e + l) * PITCH + i] = v[l];
    }
}

struct Every {   // row of a tile
    __device__ __forceinline__ bool operator()(int) const { return true; }
};

// slice[e][j] = m[row + e][column + j], e < DEPTH, j < WIDTH; zeros where live(e) is false
template <class Live>
__device__ __forceinline__ void load_straight(const Matrix& m, int row, int column, acc* slice, Live live) {
    constexpr int WORDS = 16 / sizeof(acc);
#pragma unroll
    for (int t = threadIdx.x; t < DEPTH * WIDTH / LANES; t += 256) {
        const int e = t / (WIDTH / LANES), j = t % (WIDTH / LANES) * LANES;
        acc v[LANES];
        load_lanes(m.data + (i64)(row + e) * m.stride + column + j,
                   row + e < m.rows && live(e) ? m.columns - column - j : 0, m.packed, v);
#pragma unroll
        for (int l = 0; l < LANES; l += WORDS) {
            Packet<acc, WORDS> part;
#pragma unroll
            for (int w = 0; w < WORDS; ++w) part.v[w] = v[l + w];
            *(Packet<acc, WORDS>*)(slice + e * WIDTH + j + l) = part;
        }
    }
}

// s = rows a_row .. of a times rows b_row .. of b, both TILE of them: thread (x, y) has rows y R
// .. and columns x R ..
__device__ __forceinline__ void scores_of(const Matrix& a, int a_row, const Matrix& b, int b_row, acc* slices,
                                          acc (&s)[R][R]) {
    const Rank rank;
    acc *as = slices, *bs = slices + DEPTH * PITCH;
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < R; ++j) s[i][j] = 0;
    for (int e = 0; e < a.columns; e += DEPTH) {
        __syncthreads();   // what the slices held has been read
        load_transposed(a, a_row, e, as);
        load_transposed(b, b_row, e, bs);
        __syncthreads();
#pragma unroll 4
        for (int k = 0; k < DEPTH; ++k) {
            const Packet<acc, R> av = *(const Packet<acc, R>*)(as + k * PITCH + rank.y * R),
                                 bv = *(const Packet<acc, R>*)(bs + k * PITCH + rank.x * R);
#pragma unroll
            for (int i = 0; i < R; ++i)
#pragma unroll
                for (int j = 0; j < R; ++j) s[i][j] = fma(av.v[i], bv.v[j], s[i][j]);
        }
    }
}

// Where the weights of rows y R .. and of a column lie: by columns, whose packets are exchanged so
// that neither the stores below nor the loads of `accumulate` meet in a bank.
__device__ __forceinline__ int weight_at(int column, int y) { return column * TILE + (y ^ (column / R)) * R; }

__device__ __forceinline__ void put_weights(const acc (&p)[R][R], acc* weights) {
    const Rank rank;
#pragma unroll
    for (int j = 0; j < R; ++j) {
        Packet<acc, R> column;
#pragma unroll
        for (int i = 0; i < R; ++i) column.v[i] = p[i][j];
        *(Packet<acc, R>*)(weights + weight_at(rank.x * R + j, rank.y)) = column;
    }
}

// out += weights times rows b_row .. of b, columns `column` ..: thread (x, y) has rows y R .. and
// of every 16 R columns x R ..; rows of the tile that are not live are not looked at
template <class Live = Every>
__device__ __forceinline__ void accumulate(const acc* weights, const Matrix& b, int b_row, int column, acc* slices,
                                           acc (&out)[R][COLUMNS], const Live& live = {}) {
    const Rank rank;
    for (int e = 0; e < TILE; e += DEPTH) {
        __syncthreads();   // the weights are there, and what the slices held has been read
        load_straight(b, b_row + e, column, slices, [&](int row) { return live(e + row); });
        __syncthreads();
#pragma unroll 4
        for (int k = 0; k < DEPTH; ++k) {
            const Packet<acc, R> w = *(const Packet<acc, R>*)(weights + weight_at(e + k, rank.y));
#pragma unroll
            for (int c = 0; c < COLUMNS / R; ++c) {
                const Packet<acc, R> v = *(const Packet<acc, R>*)(slices + k * WIDTH + c * TILE + rank.x * R);
#pragma unroll
                for (int i = 0; i < R; ++i)
#pragma unroll
                    for (int j = 0; j < R; ++j) out[i][c * R + j] = fma(w.v[i], v.v[j], out[i][c * R + j]);
            }
        }
    }
}

// Rows y R .. of `out` times factor[i], to columns `column` .. of a matrix of `rows` and `columns`
__device__ __forceinline__ void store_result(const acc (&out)[R][COLUMNS], const acc (&factor)[R], real* to,
                                             i64 stride, int row, int rows, int column, int columns) {
    const Rank rank;
    const bool packed = stride % R == 0 && columns % R == 0 && aligned(to);
#pragma unroll
    for (int i = 0; i < R; ++i) {
        if (row + rank.y * R + i >= rows) break;
        real* line = to + (row + rank.y * R + i) * stride;
#pragma unroll
        for (int c = 0; c < COLUMNS / R; ++c) {
            const int j = column + c * TILE + rank.x * R;
            Packet<real, R> part;
#pragma unroll
            for (int k = 0; k < R; ++k) part.v[k] = rounded(out[i][c * R + k] * factor[i]);
            if (packed && j < columns) *(Packet<real, R>*)(line + j) = part;
            if (packed) continue;
#pragma unroll
            for (int k = 0; k < R; ++k)
                if (j + k < columns) line[j + k] = part.v[k];
        }
    }
}

// Over the 16 threads that have a row's columns
template <class Op> __device__ __forceinline__ acc row_reduce(acc v) {
#pragma unroll
    for (int step = 8; step > 0; step >>= 1) v = Op::join(v, __shfl_xor_sync(WARP, v, step));
    return v;
}
