// The register tile that matrix products and convolutions share: C (ROWS x up to WIDTH)
// += A panel x B panel.
//
// A panel: packed [k][ROWS], broadcast from memory. B panel: packed [k][vectors * LANES], whole
// vectors. An element of C is one chain of fused multiply-adds in the order of k, started from C or
// from the row's bias, whatever the tile's shape; so results do not depend on where tiles fall, on
// batch size or on threads.
//
// Tile: 8 x 3 vectors where there are 32 registers (24 accumulators, 11 loads for 24 FMAs), 4 x
// 3 where there are 16.
#pragma once
#include "kernel.h"

namespace ISA::REAL_NAME {
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ROWS = 8;
#else
constexpr int ROWS = 4;
#endif
constexpr int VECTORS = 3;
constexpr int WIDTH   = VECTORS * LANES;

// start: values a row begins with (bias), or nullptr to go on from what C holds.
template <int NV>
static inline void gemm_tile(i64 depth, const real* a, const real* b, real* c, i64 ldc, const real* start) {
    V acc[ROWS][NV];
    #pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[i][v] = start ? splat(start[i]) : load(c + i * ldc + v * LANES);
    for (i64 k = 0; k < depth; ++k, a += ROWS, b += NV * LANES) {
        V bv[NV];
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) bv[v] = load(b + v * LANES);
        #pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i)
            #pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[i][v] += a[i] * bv[v];
    }
    #pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) store(c + i * ldc + v * LANES, acc[i][v]);
}

static inline void gemm_tile(int vectors, i64 depth, const real* a, const real* b, real* c, i64 ldc,
                             const real* start) {
    if (vectors == 3) gemm_tile<3>(depth, a, b, c, ldc, start);
    else if (vectors == 2) gemm_tile<2>(depth, a, b, c, ldc, start);
    else gemm_tile<1>(depth, a, b, c, ldc, start);
}

// Packs R rows of `depth` contiguous values into [depth][R]; rows from `valid` on are zeros.
template <int R>
static inline void pack_rows(const real* src, i64 row_stride, int valid, i64 depth, real* dst,
                             i64 dst_stride = R) {
    i64 k = 0;
    for (; k < depth; k += LANES) {
        const int n = depth - k < LANES ? (int)(depth - k) : LANES;
        V rows[R];
        #pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
            rows[r] = r >= valid   ? V{}
                      : n == LANES ? load(src + r * row_stride + k)
                                   : load(src + r * row_stride + k, n);
        interleave(rows);
        if constexpr (R == LANES) {
            for (int i = 0; i < n; ++i) store(dst + (k + i) * dst_stride, rows[i]);
        } else {   // dst_stride == R: the interleaved sequence is contiguous
            #pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
                const int left = n * R - r * LANES;
                if (left >= LANES) store(dst + k * R + r * LANES, rows[r]);
                else if (left > 0) store(dst + k * R + r * LANES, rows[r], left);
            }
        }
    }
}

// The block of columns [0, count) of a B panel, `depth` rows deep, from rows of contiguous columns.
static inline void pack_columns(const real* src, i64 row_stride, i64 depth, i64 count, int vectors,
                                real* dst) {
    for (i64 k = 0; k < depth; ++k, src += row_stride, dst += vectors * LANES)
        for (int v = 0; v < vectors; ++v) {
            const i64 left = count - v * LANES;
            store(dst + v * LANES, left >= LANES ? load(src + v * LANES) : load(src + v * LANES, (int)left));
        }
}

// ... and from a transposed source: column j is the contiguous row src + j * row_stride.
static inline void pack_columns_transposed(const real* src, i64 row_stride, i64 depth, i64 count, int vectors,
                                           real* dst) {
    for (int v = 0; v < vectors; ++v) {
        const i64 left = count - v * LANES;
        pack_rows<LANES>(src + v * LANES * row_stride, row_stride, left < LANES ? (int)left : LANES, depth,
                         dst + v * LANES, vectors * LANES);
    }
}

// One tile whose place in C may be ragged: gathers it, computes, and puts back only what is valid.
static inline void gemm_tile_ragged(int vectors, i64 depth, const real* a, const real* b, real* c, i64 ldc,
                                    int rows, i64 columns, const real* start) {
    real tile[ROWS * WIDTH];
    const i64 width = vectors * LANES;
    if (!start)
        for (int i = 0; i < rows; ++i) std::memcpy(tile + i * width, c + i * ldc, columns * sizeof(real));
    gemm_tile(vectors, depth, a, b, tile, width, start);
    for (int i = 0; i < rows; ++i) std::memcpy(c + i * ldc, tile + i * width, columns * sizeof(real));
}
}  // namespace ISA::REAL_NAME
