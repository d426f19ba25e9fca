// Attention on tensor cores, for f16 and bf16: tiles of rows in shared memory, their products, and
// weights that never leave the registers.
//
// A block of WARPS warps owns ROWS = WARPS * 16 * MI rows of one operand (queries, or keys where
// their gradient is made), each warp MI times 16 of them. It walks the other operand SPAN rows at a
// time, whose tiles come by cp.async while the tile before is in use. What a warp holds of SPAN
// scores a row lies as the second product wants its left operand, so that weights go from one to
// the other as they are. Rows are HEAD values wide (defined at the launch), zeros behind an
// operand's columns; 16 bytes between rows keep ldmatrix off one bank.
//
// A row's arithmetic is one chain in the order of the other operand's rows; it does not depend on
// MI, on the batch, or on its neighbours.
#pragma once
#include "gemm/tensor_tile.cuh"
#include "heads.cuh"

#ifndef HEAD
#define HEAD 64
#endif
#ifndef MASKED   // there is a mask, or a scale that is not above zero: scores are scaled before their maximum is taken
#define MASKED 0
#endif

constexpr int WARPS = 4, THREADS = WARPS * 32, PITCH = HEAD + PAD, SPAN = HEAD > 64 ? 32 : 64;
constexpr acc LOG2E = 1.44269504088896340736, LN2 = 0.69314718055994530942;
// of a warp, of a block
template <int MI> struct Rows { static constexpr int EACH = 16 * MI, ALL = WARPS * EACH; };
template <int MI> using Scores = acc[MI][SPAN / 8][4];
template <int MI> using Sums = acc[MI][HEAD / 8][4];

// The sums' layout (ptx.cuh): of a warp's tile this thread has rows rank() + 8 half + 16 i, and in
// them columns 2 pair() + 8 j and the next.
__device__ __forceinline__ int rank() { return threadIdx.x >> 2 & 7; }
__device__ __forceinline__ int pair() { return (threadIdx.x & 3) * 2; }
__device__ __forceinline__ int warp_of_block() { return threadIdx.x >> 5; }

// ---- tiles

// tile[r][e] = m[row + r][e], r < COUNT, e < HEAD; zeros where m has nothing. Rows that do not
// start at 16 bytes are copied value by value.
template <int COUNT> __device__ __forceinline__ void copy_rows(real* tile, const Matrix& m, int row) {
    row = opaque(row);   // else the addresses of all packets wait in registers
    if (m.packed && m.columns % LANES == 0) {
        constexpr int LINE = HEAD / LANES;
        static_assert(COUNT * LINE % THREADS == 0, "each thread copies as many packets");
#pragma unroll
        for (int i = 0; i < COUNT * LINE / THREADS; ++i) {
            const int t = threadIdx.x + i * THREADS, r = t / LINE, e = t % LINE * LANES;
            const bool there = row + r < m.rows && e < m.columns;
            cp_async16(tile + r * PITCH + e, m.data + (there ? (i64)(row + r) * m.stride + e : 0), there);
        }
        return;
    }
#pragma unroll 2
    for (int t = threadIdx.x; t < COUNT * HEAD / 2; t += THREADS) {
        const int r = t / (HEAD / 2), e = t % (HEAD / 2) * 2;
        Packet<real, 2> p;
#pragma unroll
        for (int k = 0; k < 2; ++k)
            p.v[k] = row + r < m.rows && e + k < m.columns ? m.data[(i64)(row + r) * m.stride + e + k]
                                                           : rounded(0);
        *(Packet<real, 2>*)(tile + r * PITCH + e) = p;
    }
}

// A warp's sums times factor[i][half], by way of `tile`, rows of its own that nobody reads any
// more, to rows `row` .. of a matrix
template <int MI>
__device__ __forceinline__ void store_rows(const Sums<MI>& out, const acc (&factor)[MI][2], real* tile,
                                           real* to, i64 stride, int row, int rows, int columns) {
    __syncwarp();   // the warp has read what the tile held
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int j = 0; j < HEAD / 8; ++j) {
                const Packet<real, 2> p = {{rounded(out[i][j][half * 2] * factor[i][half]),
                                            rounded(out[i][j][half * 2 + 1] * factor[i][half])}};
                *(Packet<real, 2>*)(tile + (i * 16 + half * 8 + rank()) * PITCH + j * 8 + pair()) = p;
            }
    __syncwarp();
    const bool packed = stride % LANES == 0 && columns % LANES == 0 && aligned(to);
    const int width = packed ? LANES : 1, line = HEAD / width;
#pragma unroll 1
    for (int t = threadIdx.x & 31; t < Rows<MI>::EACH * line; t += 32) {
        const int r = t / line, e = t % line * width;
        if (row + r >= rows || e >= columns) continue;
        if (packed) *(Pack*)(to + (row + r) * stride + e) = *(const Pack*)(tile + r * PITCH + e);
        else to[(row + r) * stride + e] = tile[r * PITCH + e];
    }
}

// ---- products

// s += a warp's rows a (16 MI of a tile) times the SPAN rows of b
template <int MI>
__device__ __forceinline__ void add_scores(const Left (&a)[MI], const real* b, int k, Scores<MI>& s) {
#pragma unroll
    for (int j = 0; j < SPAN / 8; j += 2) {
        Right right, next;
        read<false, PITCH>(b, j * 8, k, right, next);
#pragma unroll
        for (int i = 0; i < MI; ++i) {
            multiply(s[i][j], a[i], right);
            multiply(s[i][j + 1], a[i], next);
        }
    }
}

template <int MI> __device__ __forceinline__ void clear(Scores<MI>& s) {
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int j = 0; j < SPAN / 8; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) s[i][j][e] = 0;
}

template <int MI> __device__ __forceinline__ void read_rows(const real* a, int k, Left (&rows)[MI]) {
#pragma unroll
    for (int i = 0; i < MI; ++i) read<false, PITCH>(a, i * 16, k, rows[i]);
}

template <int MI> __device__ __forceinline__ void scores_of(const real* a, const real* b, Scores<MI>& s) {
    clear<MI>(s);
#pragma unroll
    for (int k = 0; k < HEAD; k += STEP) {
        Left rows[MI];
        read_rows<MI>(a, k, rows);
        add_scores<MI>(rows, b, k, s);
    }
}

__device__ __forceinline__ uint32_t both(acc low, acc high) {
#if defined(REAL_f16)
    const __half2 two = __floats2half2_rn(low, high);
#else
    const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
#endif
    return *reinterpret_cast<const uint32_t*>(&two);
}

// out += weights times the SPAN rows of b
template <int MI>
__device__ __forceinline__ void accumulate(const Scores<MI>& weights, const real* b, Sums<MI>& out) {
#pragma unroll
    for (int k = 0; k < SPAN; k += STEP) {
        Left rows[MI];
#pragma unroll
        for (int i = 0; i < MI; ++i)
#pragma unroll
            for (int q = 0; q < 4; ++q)
                rows[i].v[q] =
                    both(weights[i][k / 8 + q / 2][q % 2 * 2], weights[i][k / 8 + q / 2][q % 2 * 2 + 1]);
#pragma unroll
        for (int j = 0; j < HEAD / 8; j += 2) {
            Right right, next;
            read<true, PITCH>(b, j * 8, k, right, next);
#pragma unroll
            for (int i = 0; i < MI; ++i) {
                multiply(out[i][j], rows[i], right);
                multiply(out[i][j + 1], rows[i], next);
            }
        }
    }
}

// ---- which pairs of a query and a key count

struct Pairs {
    Mask mask;
    int queries, keys;
    bool causal;
    __device__ __forceinline__ bool seen(int q, int k) const {
        return q < queries && k < keys && (!causal || k <= q);
    }
    // Whether any of these is hidden: `row` .. of a warp's rows, `column` .. of the SPAN others, of
    // which rows or others are keys
    template <int EACH, bool ROWS_ARE_KEYS>
    __device__ __forceinline__ bool partly(int row, int column) const {
        const int q = ROWS_ARE_KEYS ? column : row, k = ROWS_ARE_KEYS ? row : column;
        return q + (ROWS_ARE_KEYS ? SPAN : EACH) > queries || k + (ROWS_ARE_KEYS ? EACH : SPAN) > keys
               || (causal && k + (ROWS_ARE_KEYS ? EACH : SPAN) - 1 > q);
    }
};

// Calls f(i, j, e, query, key) for each of a thread's scores; row, column: the first of its warp's tile
template <int MI, bool ROWS_ARE_KEYS, class F>
__device__ __forceinline__ void each_score(int row, int column, F f) {
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int j = 0; j < SPAN / 8; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int r = row + i * 16 + (e >> 1) * 8 + rank(), c = column + j * 8 + pair() + (e & 1);
                f(i, j, e, ROWS_ARE_KEYS ? c : r, ROWS_ARE_KEYS ? r : c);
            }
}
