// Matrix products. gemm: C = A B for any of the four transpositions, on the register tile of
// gemm.h: panels of A and B are packed a block of DEPTH at a time. linear: y = x W^T + b, where
// both operands have the reduction contiguous and W is read once: dot products of whole vectors,
// packing nothing, so that one sample costs no more than reading W.
#include "gemm/gemm.h"

BEGIN_KERNELS

static i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }
static i64 least(i64 a, i64 b) { return a < b ? a : b; }

constexpr i64 DEPTH  = 192;          // reduction a block
constexpr i64 BAND   = 8 * ROWS;     // rows of A packed together
constexpr i64 PANELS = 10;           // panels of B a task

struct Matrix {
    const real* data;
    i64  stride;                     // between stored rows
    bool transposed;
    const real* at(i64 row, i64 column) const {
        return transposed ? data + column * stride + row : data + row * stride + column;
    }
};

// Rows [row, row + ROWS) of A at [k, k + depth) as [depth][ROWS].
static void pack_a(const Matrix& a, i64 row, int rows, i64 k, i64 depth, real* dst) {
    if (!a.transposed) return pack_rows<ROWS>(a.at(row, k), a.stride, rows, depth, dst);
    for (i64 i = 0; i < depth; ++i, dst += ROWS)
        for (int r = 0; r < ROWS; ++r) dst[r] = r < rows ? a.at(row, k + i)[r] : 0;
}

static void pack_b(const Matrix& b, i64 k, i64 depth, i64 column, i64 columns, int vectors, real* dst) {
    if (b.transposed) pack_columns_transposed(b.at(k, column), b.stride, depth, columns, vectors, dst);
    else pack_columns(b.at(k, column), b.stride, depth, columns, vectors, dst);
}

// Rows [row0, row1) at columns [column0, column1) of one product.
static void product_task(const Matrix& a, const Matrix& b, real* c, i64 n, i64 depth, i64 row0, i64 row1,
                         i64 column0, i64 column1) {
    Scratch<real> packed_b(DEPTH * (column1 - column0 + WIDTH)), packed_a(DEPTH * BAND);
    const real zeros[ROWS] = {};
    for (i64 k = 0; k < depth || k == 0; k += DEPTH) {
        const i64 block = least(depth - k, DEPTH);
        for (i64 j = column0; j < column1; j += WIDTH) {
            const i64 columns = least(column1 - j, WIDTH);
            pack_b(b, k, block, j, columns, (int)ceil_div(columns, LANES), packed_b + (j - column0) * DEPTH);
        }
        for (i64 band = row0; band < row1; band += BAND) {
            const i64 end = least(band + BAND, row1);
            for (i64 row = band; row < end; row += ROWS)
                pack_a(a, row, (int)least(end - row, ROWS), k, block, packed_a + (row - band) * DEPTH);
            for (i64 j = column0; j < column1; j += WIDTH) {
                const i64 columns = least(column1 - j, WIDTH);
                const int vectors = (int)ceil_div(columns, LANES);
                for (i64 row = band; row < end; row += ROWS) {
                    const i64   rows  = least(end - row, ROWS);
                    const real* start = k ? nullptr : zeros;
                    const real *pa = packed_a + (row - band) * DEPTH, *pb = packed_b + (j - column0) * DEPTH;
                    if (rows == ROWS && columns == vectors * LANES)
                        gemm_tile(vectors, block, pa, pb, c + row * n + j, n, start);
                    else
                        gemm_tile_ragged(vectors, block, pa, pb, c + row * n + j, n, (int)rows, columns,
                                         start);
                }
            }
        }
    }
}

void gemm(In<real> a, In<real> b, bool transpose_a, bool transpose_b, Out<real> c) {
    const i64 batch = c.dim(0), m = c.dim(1), n = c.dim(2), depth = transpose_a ? a.dim(1) : a.dim(2);
    const i64 threads = threads_now(), panels = ceil_div(n, WIDTH), tiles = ceil_div(m, ROWS);
    if (batch * m * n == 0) return;
    i64 column_groups = ceil_div(panels, PANELS), row_groups = 1;
    if (m * n * depth > 40000) {   // below that a second thread costs more than it brings
        if (batch * column_groups < threads && tiles >= panels) row_groups = least(threads, tiles);
        else if (batch * column_groups < threads) column_groups = least(threads, panels);
    }
    auto task = [&](i64 i) {
        const i64 product = i / (column_groups * row_groups), cols = i / row_groups % column_groups,
                  rows = i % row_groups;
        const Matrix ma{a.data + (a.dim(0) == 1 ? 0 : product) * a.dim(1) * a.dim(2), a.dim(2), transpose_a};
        const Matrix mb{b.data + (b.dim(0) == 1 ? 0 : product) * b.dim(1) * b.dim(2), b.dim(2), transpose_b};
        product_task(ma, mb, c.data + product * m * n, n, depth, tiles * rows / row_groups * ROWS,
                     least(tiles * (rows + 1) / row_groups * ROWS, m), panels * cols / column_groups * WIDTH,
                     least(panels * (cols + 1) / column_groups * WIDTH, n));
    };
    const i64 tasks = batch * column_groups * row_groups;
    if (batch * m * n * depth > 40000) parallel_tasks(tasks, task);
    else for (i64 i = 0; i < tasks; ++i) task(i);
}

// ---- linear
constexpr int SAMPLES = ROWS == 8 ? 5 : 3, OUTPUTS = ROWS == 8 ? 4 : 3;   // dot products in registers
constexpr i64 SPAN = 1024;           // features a block: SAMPLES + OUTPUTS rows of them stay in L1

// y[s][o] += (or = bias) the dot products of S samples with O outputs over [0, n).
template <int S, int O>
static void dots(const real* x, i64 x_stride, const real* w, i64 w_stride, i64 n, real* y, i64 y_stride,
                 const real* bias, bool first) {
    V acc[S][O] = {};
    i64 i = 0;
    for (; i + LANES <= n; i += LANES) {
        V wv[O];
        #pragma GCC unroll 8
        for (int o = 0; o < O; ++o) wv[o] = load(w + o * w_stride + i);
        #pragma GCC unroll 8
        for (int s = 0; s < S; ++s) {
            const V xv = load(x + s * x_stride + i);
            #pragma GCC unroll 8
            for (int o = 0; o < O; ++o) acc[s][o] += xv * wv[o];
        }
    }
    if (i < n)
        for (int s = 0; s < S; ++s)
            for (int o = 0; o < O; ++o)
                acc[s][o] +=
                    load(x + s * x_stride + i, (int)(n - i)) * load(w + o * w_stride + i, (int)(n - i));
    for (int s = 0; s < S; ++s)
        for (int o = 0; o < O; ++o) {
            real& out = y[s * y_stride + o];
            out = (first ? bias ? bias[o] : 0 : out) + hsum(acc[s][o]);
        }
}

template <int S>
static void dots(int outputs, const real* x, i64 xs, const real* w, i64 ws, i64 n, real* y, i64 ys,
                 const real* bias, bool first) {
    for (; outputs >= OUTPUTS;
         outputs -= OUTPUTS, w += OUTPUTS * ws, y += OUTPUTS, bias = bias ? bias + OUTPUTS : nullptr)
        dots<S, OUTPUTS>(x, xs, w, ws, n, y, ys, bias, first);
    for (; outputs > 0; --outputs, w += ws, ++y, bias = bias ? bias + 1 : nullptr)
        dots<S, 1>(x, xs, w, ws, n, y, ys, bias, first);
}

void linear(In<real> x, In<real> weight, In<real> bias, Out<real> y) {
    const i64 outputs = weight.dim(0), features = weight.dim(1), samples = outputs ? y.size() / outputs : 0;
    constexpr i64 BLOCK = 16 * OUTPUTS;   // outputs whose weights stay in L2 while all samples pass
    const i64 blocks = ceil_div(outputs, BLOCK), grain = 1 + 40000 / (BLOCK * features * samples + 1);
    parallel_for(blocks, grain, [&](i64 begin, i64 end) {
        for (i64 block = begin; block < end; ++block) {
            const i64 o = block * BLOCK, count = least(outputs - o, BLOCK);
            for (i64 k = 0; k < features || k == 0; k += SPAN) {
                const i64 n = least(features - k, SPAN);
                for (i64 s = 0; s < samples;) {
                    const int group = samples - s >= SAMPLES ? SAMPLES : 1;
                    auto run = group == SAMPLES ? dots<SAMPLES> : dots<1>;
                    run((int)count, x.data + s * features + k, features, weight.data + o * features + k,
                        features, n, y.data + s * outputs + o, outputs, bias ? bias.data + o : nullptr,
                        k == 0);
                    s += group;
                }
            }
        }
    });
}

END_KERNELS
