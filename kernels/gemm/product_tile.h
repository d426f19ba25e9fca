// The register tile of matrix products: that of gemm.h, the same sums, which meanwhile fetches cache
// lines that are wanted soon. Stores of a tile lie a row of C apart, each in another page, and would
// wait for their lines; rows of A and B that are packed next come from memory.
#pragma once
#include <utility>
#include "gemm/gemm.h"

BEGIN_KERNELS

static i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }
static i64 least(i64 a, i64 b) { return a < b ? a : b; }

constexpr i64 LINE = 64 / sizeof(real), STEP = 8;   // values of a cache line; terms between two fetches

struct Matrix {
    const real* data;
    i64  stride;                     // between stored rows
    bool transposed;
    const real* at(i64 row, i64 column) const {
        return transposed ? data + column * stride + row : data + row * stride + column;
    }
};

// Cache lines of a part of a matrix that will be packed next: tiles fetch them meanwhile, `each` a step.
struct Ahead {
    const real* data = nullptr;
    i64 stride = 0, of_row = 1, line = 0, lines = 0, each = 0;
    Ahead() = default;
    Ahead(const Matrix& m, i64 row, i64 rows, i64 column, i64 columns, i64 steps)
        : data(m.at(row, column)), stride(m.stride) {
        if (m.transposed) std::swap(rows, columns);
        of_row = ceil_div(columns, LINE), lines = rows * of_row, each = ceil_div(lines, steps);
    }
    void step() {
        for (i64 i = 0; i < each && line < lines; ++i, ++line)
            __builtin_prefetch(data + line / of_row * stride + line % of_row * LINE);
    }
};

// Where sums begin: rows `apart` of `data`, C itself or a row for all
struct Begin { const real* data; i64 apart; };

// gemm_tile, which fetches meanwhile what comes next: lines of C at `next` (null: none), and of A and B.
template <int NV>
static void product_tile(i64 depth, const real* a, const real* b, Begin begin, real* c, i64 ldc, const real* next,
                         Ahead* ahead) {
    constexpr int WIDE = NV * LANES / LINE, LINES = ROWS * WIDE;
    V acc[ROWS][NV];
    #pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[i][v] = load(begin.data + i * begin.apart + v * LANES);
    const int each = (int)(LINES * STEP / (depth + 1)) + 1;
    int       line = next ? 0 : LINES;
    for (i64 k = 0; k < depth;) {
        const i64 stop = least(k + STEP, depth);
        for (int i = 0; i < each && line < LINES; ++i, ++line)
            __builtin_prefetch(next + line / WIDE * ldc + line % WIDE * LINE, 1);
        ahead[0].step(), ahead[1].step();
        for (; k < stop; ++k, a += ROWS, b += NV * LANES) {
            V bv[NV];
            #pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) bv[v] = load(b + v * LANES);
            #pragma GCC unroll 8
            for (int i = 0; i < ROWS; ++i)
                #pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) acc[i][v] += a[i] * bv[v];
        }
    }
    #pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) store(c + i * ldc + v * LANES, acc[i][v]);
}

// One that may be ragged: gathered, computed, and only what is valid put back
static void product_tile(i64 rows, i64 columns, i64 depth, const real* a, const real* b, Begin begin, real* c,
                         i64 ldc, const real* next, Ahead* ahead) {
    const int vectors = (int)ceil_div(columns, LANES);
    const i64 width = vectors * LANES;
    real edge[ROWS * WIDTH];
    const bool ragged = rows < ROWS || columns < width;
    if (ragged)
        for (i64 i = 0; i < rows; ++i)
            std::memcpy(edge + i * width, begin.data + i * begin.apart, columns * sizeof(real));
    const Begin from = ragged ? Begin{edge, width} : begin;
    real* const to = ragged ? edge : c;
    const i64 pitch = ragged ? width : ldc;
    if (ragged) next = nullptr;
    if (vectors == 3) product_tile<3>(depth, a, b, from, to, pitch, next, ahead);
    else if (vectors == 2) product_tile<2>(depth, a, b, from, to, pitch, next, ahead);
    else product_tile<1>(depth, a, b, from, to, pitch, next, ahead);
    if (ragged)
        for (i64 i = 0; i < rows; ++i) std::memcpy(c + i * ldc, edge + i * width, columns * sizeof(real));
}

END_KERNELS
