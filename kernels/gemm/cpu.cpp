// Matrix products. gemm: C = A B for any of the four transpositions, on the register tile of
// product_tile.h: panels of A and B are packed a block of DEPTH at a time, but where few rows or a
// short reduction would not pay for it; tiles fetch what is packed and written next. linear: y = x W^T
// + b, where both operands have the reduction contiguous and W is read once: dot products of whole
// vectors, packing nothing, so that one sample costs no more than reading W; for many samples the
// tile, whose sums need no folding.
#include <array>
#include <utility>
#include "gemm/product_tile.h"

extern __thread bool pyops_by_sample;    // module.cpp: pyops.batch_invariant()
extern __thread int  pyops_run_threads;  // csrc/parallel.h: within a compiled program

BEGIN_KERNELS

constexpr i64 DEPTH  = 512;          // reduction a block
constexpr i64 BAND   = 32;           // rows of A packed together
constexpr i64 PANELS = 6;            // panels of B a task

// Rows [row, row + ROWS) of A at [k, k + depth) as [depth][ROWS].
static void pack_a(const Matrix& a, i64 row, int rows, i64 k, i64 depth, real* dst) {
    if (!a.transposed) return pack_rows<ROWS>(a.at(row, k), a.stride, rows, depth, dst);
    if (rows == ROWS)
        for (i64 i = 0; i < depth; ++i, dst += ROWS) std::memcpy(dst, a.at(row, k + i), ROWS * sizeof(real));
    else
        for (i64 i = 0; i < depth; ++i, dst += ROWS)
            for (int r = 0; r < ROWS; ++r) dst[r] = r < rows ? a.at(row, k + i)[r] : 0;
}

static void pack_b(const Matrix& b, i64 k, i64 depth, i64 column, i64 columns, int vectors, real* dst) {
    if (b.transposed) pack_columns_transposed(b.at(k, column), b.stride, depth, columns, vectors, dst);
    else pack_columns(b.at(k, column), b.stride, depth, columns, vectors, dst);
}

// Rows [row0, row1) at columns [column0, column1) of one product; bias: what each row begins with, or null.
static void product_task(const Matrix& a, const Matrix& b, real* c, i64 n, i64 depth, i64 row0, i64 row1,
                         i64 column0, i64 column1, const real* bias = nullptr) {
    static const real zeros[WIDTH] = {};
    const i64 pieces = depth ? ceil_div(depth, DEPTH) : 1, panels = ceil_div(column1 - column0, WIDTH);
    const auto piece = [&](i64 i) { return depth * i / pieces; };
    Scratch<real> packed_b(DEPTH * (column1 - column0 + WIDTH)), packed_a(DEPTH * BAND);
    for (i64 i = 0; i < pieces; ++i) {
        const i64 k = piece(i), block = piece(i + 1) - k, steps = ceil_div(block, STEP) * panels;   // of ROWS rows
        for (i64 j = column0; j < column1; j += WIDTH) {
            const i64 columns = least(column1 - j, WIDTH);
            pack_b(b, k, block, j, columns, (int)ceil_div(columns, LANES), packed_b + (j - column0) * DEPTH);
        }
        Ahead ahead[2];
        if (i + 1 < pieces)
            ahead[1] = {b, k + block, piece(i + 2) - k - block, column0, column1 - column0,
                        steps * ceil_div(row1 - row0, ROWS) + 1};
        for (i64 band = row0; band < row1; band += BAND) {
            const i64 end = least(band + BAND, row1), all = steps * ceil_div(end - band, ROWS) + 1;
            for (i64 row = band; row < end; row += ROWS)
                pack_a(a, row, (int)least(end - row, ROWS), k, block, packed_a + (row - band) * DEPTH);
            if (end < row1) ahead[0] = {a, end, least(BAND, row1 - end), k, block, all};
            else if (i + 1 < pieces)
                ahead[0] = {a, row0, least(BAND, row1 - row0), k + block, piece(i + 2) - k - block, all};
            else ahead[0] = {};
            for (i64 j = column0; j < column1; j += WIDTH) {
                const i64 columns = least(column1 - j, WIDTH);
                for (i64 row = band; row < end; row += ROWS) {
                    real* const at = c + row * n + j;
                    const Begin begin = i ? Begin{at, n} : bias ? Begin{bias + j, 0} : Begin{zeros, 0};
                    const real* const next = row + 2 * ROWS <= end       ? at + ROWS * n
                                             : j + 2 * WIDTH <= column1 ? c + band * n + j + WIDTH
                                                                        : nullptr;
                    product_tile(least(end - row, ROWS), columns, block, packed_a + (row - band) * DEPTH,
                                 packed_b + (j - column0) * DEPTH, begin, at, n, next, ahead);
                }
            }
        }
    }
}

// ---- without packing: few rows, or a short reduction
constexpr i64 FEW = 8, SHORT = 8;   // rows; terms
constexpr i64 CACHED = 1 << 17;     // values of B that the second cache holds

// R rows at NV vectors of columns, or at `columns` fewer than one vector holds, in the order of gemm_tile.
template <int R, int NV>
static void bare_tile(const Matrix& a, i64 row, const real* b, i64 stride, i64 depth, real* c, i64 n, i64 columns) {
    V acc[R][NV] = {};
    for (i64 k = 0; k < depth; ++k, b += stride) {
        V bv[NV];
        #pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) bv[v] = NV == 1 ? load(b, (int)columns) : load(b + v * LANES);
        #pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
            #pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) acc[r][v] += *a.at(row + r, k) * bv[v];
    }
    #pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
        #pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            if (NV == 1) store(c + r * n, acc[r][v], (int)columns);
            else store(c + r * n + v * LANES, acc[r][v]);
        }
}

template <int R, int NV>
static void bare_rows(const Matrix& a, const Matrix& b, i64 row, real* c, i64 n, i64 depth, i64 j, i64 end) {
    for (; j + NV * LANES <= end; j += NV * LANES)
        bare_tile<R, NV>(a, row, b.data + j, b.stride, depth, c + row * n + j, n, 0);
    for (; j < end; j += LANES)
        bare_tile<R, 1>(a, row, b.data + j, b.stride, depth, c + row * n + j, n, least(end - j, LANES));
}

// R rows of C at columns [j, end), a row of B after the other: for a B that comes from memory, of which
// tiles of columns would read a piece of every page.
template <int R>
static void streamed_rows(const Matrix& a, const Matrix& b, i64 row, real* c, i64 n, i64 depth, i64 j, i64 end) {
    constexpr i64 CHUNK = 1024;   // columns of C that stay in L1
    constexpr int TERMS = 8;
    for (; j < end; j += CHUNK) {
        const i64 count = least(end - j, CHUNK);
        for (int r = 0; r < R; ++r) std::fill_n(c + (row + r) * n + j, count, real(0));
        for (i64 k = 0; k < depth; k += TERMS) {
            const int terms = (int)least(depth - k, TERMS);
            real      factors[R][TERMS];
            for (int r = 0; r < R; ++r)
                for (int t = 0; t < terms; ++t) factors[r][t] = *a.at(row + r, k + t);
            const real* const from = b.data + k * b.stride + j;
            for_vectors(count, [&](i64 i, auto lanes) {
                V acc[R];
                #pragma GCC unroll 4
                for (int r = 0; r < R; ++r) acc[r] = lanes.load(c + (row + r) * n + j + i);
                if (terms == TERMS) {
                    #pragma GCC unroll 8
                    for (int t = 0; t < TERMS; ++t) {
                        const V bv = lanes.load(from + t * b.stride + i);
                        #pragma GCC unroll 4
                        for (int r = 0; r < R; ++r) acc[r] += factors[r][t] * bv;
                    }
                } else {
                    for (int t = 0; t < terms; ++t) {
                        const V bv = lanes.load(from + t * b.stride + i);
                        for (int r = 0; r < R; ++r) acc[r] += factors[r][t] * bv;
                    }
                }
                for (int r = 0; r < R; ++r) lanes.store(c + (row + r) * n + j + i, acc[r]);
            });
        }
    }
}

// As product_task, of a B that is not transposed.
static void bare_task(const Matrix& a, const Matrix& b, real* c, i64 n, i64 depth, i64 row0, i64 row1, i64 column0,
                      i64 column1) {
    constexpr int WIDE = ROWS == 8 ? 3 : 2;   // vectors: sums fill the registers
    i64 row = row0;
    if (depth > SHORT && depth * n > CACHED) {
        for (; row + 4 <= row1; row += 4) streamed_rows<4>(a, b, row, c, n, depth, column0, column1);
        for (; row < row1; ++row) streamed_rows<1>(a, b, row, c, n, depth, column0, column1);
        return;
    }
    // products of two vectors are stores: of one row after the other
    for (; depth > 1 && row + 4 <= row1; row += 4) bare_rows<4, WIDE>(a, b, row, c, n, depth, column0, column1);
    for (; depth > 1 && row + 2 <= row1; row += 2) bare_rows<2, 4>(a, b, row, c, n, depth, column0, column1);
    for (; row < row1; ++row) bare_rows<1, 8>(a, b, row, c, n, depth, column0, column1);
}

static void dots_of_rows(const real* x, i64 samples, const real* w, i64 outputs, i64 features, const real* bias,
                         real* y);

// A batch of operands, `apart` values from one to the next (0: all are one).
struct Matrices {
    Matrix first;
    i64    apart;
    Matrix operator[](i64 i) const { return {first.data + i * apart, first.stride, first.transposed}; }
};

static Matrices matrices(In<real> x, bool transposed) {
    return {{x.data, x.dim(2), transposed}, x.dim(0) == 1 ? 0 : x.dim(1) * x.dim(2)};
}

// ---- many small matrices, which lie in the nearest cache: nothing is packed
// R rows at NV vectors of columns, of which the last one has `last`, in the order of gemm_tile.
template <int R, int NV>
static void small_tile(const Matrix& a, i64 row, const real* b, i64 stride, i64 depth, real* c, i64 n, int last) {
    const i64 down = a.transposed ? 1 : a.stride, along = a.transposed ? a.stride : 1;
    const real* from = a.at(row, 0);
    V acc[R][NV] = {};
    for (i64 k = 0; k < depth; ++k, b += stride, from += along) {
        V bv[NV];
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) bv[v] = v + 1 < NV ? load(b + v * LANES) : load(b + v * LANES, last);
        #pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
            #pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[r][v] += from[r * down] * bv[v];
    }
    #pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
        #pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            if (v + 1 < NV) store(c + r * n + v * LANES, acc[r][v]);
            else store(c + r * n + v * LANES, acc[r][v], last);
        }
}

template <int R>
static void small_rows(const Matrix& a, i64 row, const real* b, i64 stride, i64 depth, real* c, i64 n) {
    for (i64 j = 0; j < n; j += WIDTH) {
        const i64 vectors = least(ceil_div(n - j, LANES), VECTORS);
        const int last = (int)least(n - j - (vectors - 1) * LANES, LANES);
        real* const to = c + row * n + j;
        if (vectors == 3) small_tile<R, 3>(a, row, b + j, stride, depth, to, n, last);
        else if (vectors == 2) small_tile<R, 2>(a, row, b + j, stride, depth, to, n, last);
        else small_tile<R, 1>(a, row, b + j, stride, depth, to, n, last);
    }
}

static void small_products(const Matrices& a, const Matrices& b, i64 batch, i64 m, i64 n, i64 depth, real* c) {
    parallel_for(batch, 1 + 100000 / (m * n * depth + 200), [&](i64 begin, i64 end) {
        const i64 pitch = ceil_div(n, LANES) * LANES;
        const bool turned = b.first.transposed;
        Scratch<real> packed(turned ? depth * pitch : 0);
        for (i64 i = begin; i < end; ++i) {
            const Matrix left = a[i], right = b[i];
            const real* const rows = turned ? packed : right.data;
            const i64 stride = turned ? pitch : right.stride;
            real* const to = c + i * m * n;
            if (turned && (i == begin || b.apart))
                pack_columns_transposed(right.data, right.stride, depth, n, (int)(pitch / LANES), packed);
            i64 row = 0;
            for (; row + ROWS <= m; row += ROWS) small_rows<ROWS>(left, row, rows, stride, depth, to, n);
            for (; row + 4 <= m; row += 4) small_rows<4>(left, row, rows, stride, depth, to, n);
            for (; row + 2 <= m; row += 2) small_rows<2>(left, row, rows, stride, depth, to, n);
            if (row < m) small_rows<1>(left, row, rows, stride, depth, to, n);
        }
    });
}

// Matrices that a vector holds, as many as it does: a term of all their sums is two shuffles and a multiply-add.
static void tiny_products(const Matrices& a, const Matrices& b, i64 batch, i64 m, i64 n, i64 depth, real* c) {
    const i64 left = m * depth, right = depth * n, size = m * n;
    const i64 most = left > right ? left : right, count = LANES / (most > size ? most : size);
    M first_a{}, first_b{};   // where the first terms of each lane's sum lie
    for (i64 i = 0, at = 0; i < count; ++i)
        for (i64 row = 0; row < m; ++row)
            for (i64 column = 0; column < n; ++column, ++at) {
                first_a[at] = (lane_int)((a.apart ? i * left : 0) + (a.first.at(row, 0) - a.first.data));
                first_b[at] = (lane_int)((b.apart ? i * right : 0) + (b.first.at(0, column) - b.first.data));
            }
    const M step_a = M{} + (lane_int)(a.first.at(0, 1) - a.first.data),
            step_b = M{} + (lane_int)(b.first.at(1, 0) - b.first.data);
    parallel_for(ceil_div(batch, count), 1 + 4000 / (depth + 4), [=](i64 begin, i64 end) {
        for (i64 i = begin * count; i < end * count; i += count) {
            const i64 some = least(batch - i, count);
            const V va = load(a.first.data + i * a.apart, (int)(a.apart ? some * left : left)),
                    vb = load(b.first.data + i * b.apart, (int)(b.apart ? some * right : right));
            V sum{};
            M at_a = first_a, at_b = first_b;
            for (i64 k = 0; k < depth; ++k, at_a += step_a, at_b += step_b)
                sum += __builtin_shuffle(va, at_a) * __builtin_shuffle(vb, at_b);
            store(c + i * size, sum, (int)(some * size));
        }
    });
}

static void products(const Matrices& a, const Matrices& b, i64 batch, i64 m, i64 n, i64 depth, real* c) {
    constexpr i64 NEAR = 4096, SMALL = 1 << 17;   // values of both, products: more are worth packing
    if (m * depth + depth * n <= NEAR && m * n * depth <= SMALL)
        return small_products(a, b, batch, m, n, depth, c);
    const i64  threads = threads_now(), panels = ceil_div(n, WIDTH), tiles = ceil_div(m, ROWS);
    const bool bare = !b.first.transposed && (m <= FEW || depth <= SHORT);
    i64 column_groups = bare && m > FEW ? 1 : ceil_div(panels, PANELS), row_groups = 1;
    if (m * n * depth > 40000) {   // below that a second thread costs more than it brings
        if (batch * column_groups < threads && tiles >= panels) row_groups = least(threads, tiles);
        else if (batch * column_groups < threads) column_groups = least(threads, panels);
    }
    auto task = [&](i64 i) {
        const i64 product = i / (column_groups * row_groups), cols = i / row_groups % column_groups,
                  rows = i % row_groups;
        const i64 row0 = tiles * rows / row_groups * ROWS, column0 = panels * cols / column_groups * WIDTH;
        const i64 row1    = least(tiles * (rows + 1) / row_groups * ROWS, m),
                  column1 = least(panels * (cols + 1) / column_groups * WIDTH, n);
        real* const at = c + product * m * n;
        if (bare) bare_task(a[product], b[product], at, n, depth, row0, row1, column0, column1);
        else product_task(a[product], b[product], at, n, depth, row0, row1, column0, column1);
    };
    const i64 tasks = batch * column_groups * row_groups;
    if (batch * m * n * depth > 40000) parallel_tasks(tasks, task);
    else for (i64 i = 0; i < tasks; ++i) task(i);
}

static void dots_of_rows(const real* x, i64 samples, const real* w, i64 outputs, i64 features, const real* bias,
                         real* y);

void gemm(In<real> a, In<real> b, bool transpose_a, bool transpose_b, Out<real> c) {
    const i64 batch = c.dim(0), m = c.dim(1), n = c.dim(2), depth = transpose_a ? a.dim(1) : a.dim(2);
    if (batch * m * n == 0) return;
    Matrices left = matrices(a, transpose_a), right = matrices(b, transpose_b);
    // rows by one column are as many as a batch has, and more of them are summed in another order
    const bool alike = n > 1 || !(pyops_by_sample || pyops_run_threads);
    if (alike && depth > 0 && m * depth <= LANES && depth * n <= LANES && m * n <= LANES)
        return tiny_products(left, right, batch, m, n, depth, c.data);
    if (depth == 1) right.first = {b.data, n, false};   // a row lies as a column does
    if (n > 1) return products(left, right, batch, m, n, depth, c.data);
    if (transpose_a) {   // a vector by the rows of A
        right.first = {b.data, depth, false}, left.first.transposed = false;
        return products(right, left, batch, 1, m, depth, c.data);
    }
    for (i64 i = 0; i < batch; ++i)
        dots_of_rows(right[i].data, 1, left[i].data, m, depth, nullptr, c.data + i * m);
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

template <int... S> static constexpr auto dots_by_samples(std::integer_sequence<int, S...>) {
    return std::array{&dots<S + 1>...};
}

static void dots_of_rows(const real* x, i64 samples, const real* w, i64 outputs, i64 features, const real* bias,
                         real* y) {
    constexpr i64 BLOCK = 16 * OUTPUTS;   // outputs whose weights stay in L2 while all samples pass
    constexpr auto DOTS = dots_by_samples(std::make_integer_sequence<int, SAMPLES>{});
    const i64 blocks = ceil_div(outputs, BLOCK), grain = 1 + 40000 / (BLOCK * features * samples + 1);
    const i64 groups = ceil_div(samples, SAMPLES);   // of about one size
    parallel_for(blocks, grain, [&](i64 begin, i64 end) {
        for (i64 block = begin; block < end; ++block) {
            const i64 o = block * BLOCK, count = least(outputs - o, BLOCK);
            for (i64 k = 0; k < features || k == 0; k += SPAN) {
                const i64 n = least(features - k, SPAN);
                for (i64 group = 0, s = 0; group < groups; ++group) {
                    const int many = int(samples * (group + 1) / groups - s);
                    DOTS[many - 1]((int)count, x + s * features + k, features, w + o * features + k, features, n,
                                   y + s * outputs + o, outputs, bias ? bias + o : nullptr, k == 0);
                    s += many;
                }
            }
        }
    });
}

// By the tile: every row of y begins as the bias.
static void linear_tiles(In<real> x, In<real> weight, In<real> bias, i64 samples, Out<real> y) {
    const i64 n = weight.dim(0), features = weight.dim(1), threads = threads_now();
    const Matrix a{x.data, features, false}, b{weight.data, features, true};
    const i64 panels = ceil_div(n, WIDTH), tiles = ceil_div(samples, ROWS);
    i64 columns = ceil_div(panels, PANELS), rows = 1;
    if (columns < threads && tiles >= panels) rows = least(threads, tiles);
    else if (columns < threads) columns = least(threads, panels);
    parallel_tasks(columns * rows, [&](i64 i) {
        const i64 row0 = tiles * (i % rows) / rows * ROWS, row1 = least(tiles * (i % rows + 1) / rows * ROWS, samples);
        const i64 j0 = panels * (i / rows) / columns * WIDTH, j1 = least(panels * (i / rows + 1) / columns * WIDTH, n);
        product_task(a, b, y.data, n, features, row0, row1, j0, j1, bias.data);
    });
}

constexpr i64 MANY = 16;   // samples from which packing the weights pays

void linear(In<real> x, In<real> weight, In<real> bias, Out<real> y) {
    const i64 outputs = weight.dim(0), features = weight.dim(1), samples = outputs ? y.size() / outputs : 0;
    if (samples >= MANY && outputs >= LANES && !pyops_by_sample)
        return linear_tiles(x, weight, bias, samples, y);
    dots_of_rows(x.data, samples, weight.data, outputs, features, bias ? bias.data : nullptr, y.data);
}

END_KERNELS
