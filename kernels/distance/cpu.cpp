// y[i, j] = (sum over k of |a[i, k] - b[j, k]|^p)^(1/p), by differences: nothing cancels, as it does in
// |a|^2 + |b|^2 - 2 ab. As many rows of b as a vector has lanes are measured at once, an accumulator
// each, and their lanes are added after one transposition; of short vectors, and many, they are turned first, and
// rows of b lie side by side in the lanes.
#include "gemm/gemm.h"
#include "simd_math.h"

BEGIN_KERNELS

static V greater(V a, V b) { return (a > b) | (a != a) ? a : b; }   // NaN stays

struct One {
    static V term(V d, real) { return vabs(d); }
    static V slope(V d, V, real) { return d > 0 ? splat(1) : d < 0 ? splat(-1)
                                                                   : V{}; }
};
struct Squares {
    static V term(V d, real) { return d * d; }
    static V slope(V d, V, real) { return d; }
};
struct Any {
    static V term(V d, real p) { return vpow(vabs(d), splat(p)); }
    static V slope(V d, V, real p) { return d == 0 ? V{} : One::slope(d, V{}, p) * vpow(vabs(d), splat(p - 1)); }
};
struct Count {
    static V term(V d, real) { return d != 0 ? splat(1) : V{}; }
    static V slope(V, V, real) { return V{}; }
};
struct Greatest {
    static V term(V d, real) { return vabs(d); }
    static V slope(V d, V y, real p) { return vabs(d) == y ? One::slope(d, V{}, p) : V{}; }
};

template <class Use> static void by_order(double p, Use use) {
    if (p == 2) use(Squares{});
    else if (p == 1) use(One{});
    else if (p == 0) use(Count{});
    else if (p == INF) use(Greatest{});
    else use(Any{});
}

template <class F> constexpr bool LARGEST = std::is_same_v<F, Greatest>;

template <class F> static V joined(V a, V b) { return LARGEST<F> ? greater(b, a) : a + b; }

// Distances of one row of a to up to LANES rows of b.
template <class F> static V distances(const real* a, const real* b, int rows, i64 m, real p) {
    V sum[LANES] = {};
    for_vectors(m, [&](i64 k, auto lanes) {
        const V from = lanes.load(a + k);
        #pragma GCC unroll 16
        for (int r = 0; r < LANES; ++r)
            sum[r] = joined<F>(sum[r], F::term(from - lanes.load(b + (r < rows ? r : 0) * m + k), p));
    });
    interleave(sum);
    V all = sum[0];
    for (int r = 1; r < LANES; ++r) all = joined<F>(all, sum[r]);
    if (std::is_same_v<F, Squares>) return vsqrt(all);
    return std::is_same_v<F, Any> ? vpow(all, splat(1 / p)) : all;
}

// y[i, j ...] for R rows of a and the columns of a panel, (m, ACROSS vectors): one chain of terms each
constexpr int ACROSS = 2;
template <class F, int R>
static void panel_distances(const real* a, const real* panel, i64 m, real p, real* y, i64 pitch, i64 columns) {
    V sum[R][ACROSS] = {};
    for (i64 k = 0; k < m; ++k, panel += ACROSS * LANES)
        #pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
            #pragma GCC unroll 2
            for (int v = 0; v < ACROSS; ++v)
                sum[r][v] = joined<F>(sum[r][v], F::term(a[r * m + k] - load(panel + v * LANES), p));
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < ACROSS; ++v) {
            V all = sum[r][v];
            if (std::is_same_v<F, Squares>) all = vsqrt(all);
            if (std::is_same_v<F, Any>) all = vpow(all, splat(1 / p));
            const i64 left = columns - v * LANES;
            if (left >= LANES) store(y + r * pitch + v * LANES, all);
            else if (left > 0) store(y + r * pitch + v * LANES, all, (int)left);
        }
}

// Short vectors: rows of b side by side in the lanes, so that none are added across
template <class F> static void by_panels(In<real> a, In<real> b, real p, Out<real> y) {
    constexpr i64 WIDE = ACROSS * LANES, ROWS_OF_TASK = 64;
    const i64 rows = a.dim(1), across = b.dim(1), m = a.dim(2), panels = (across + WIDE - 1) / WIDE,
              strips = (rows + ROWS_OF_TASK - 1) / ROWS_OF_TASK;
    parallel_for(y.dim(0) * panels * strips, 1 + 1024 / (m + 16), [&](i64 begin, i64 end) {
        Scratch<real> panel(m * WIDE);
        for (i64 task = begin; task < end; ++task) {
            const i64 first = task % strips * ROWS_OF_TASK,
                      last = first + ROWS_OF_TASK < rows ? first + ROWS_OF_TASK : rows,
                      column = task / strips % panels * WIDE, n = task / strips / panels,
                      columns = across - column < WIDE ? across - column : WIDE;
            pack_columns_transposed(b.data + (n * across + column) * m, m, m, columns, ACROSS, panel);
            const real* from = a.data + (n * rows + first) * m;
            real*       to   = y.data + (n * rows + first) * across + column;
            i64         i    = first;
            for (; i + 4 <= last; i += 4, from += 4 * m, to += 4 * across)
                panel_distances<F, 4>(from, panel, m, p, to, across, columns);
            for (; i < last; ++i, from += m, to += across)
                panel_distances<F, 1>(from, panel, m, p, to, across, columns);
        }
    });
}

void cdist(In<real> a, In<real> b, double p, Out<real> y) {
    const i64 rows = a.dim(1), across = b.dim(1), m = a.dim(2);
    constexpr i64 SHORT = 256;
    by_order(p, [&](auto f) {
        if (m <= SHORT && across >= LANES && rows >= 4) return by_panels<decltype(f)>(a, b, real(p), y);
        parallel_for(y.dim(0) * rows, 1 + 32768 / (across * (m + 16) + 1), [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i)
                for (i64 j = 0; j < across; j += LANES) {
                    const int count = across - j < LANES ? (int)(across - j) : LANES;
                    const V d = distances<decltype(f)>(a.data + i * m, b.data + (i / rows * across + j) * m, count, m,
                                                       real(p));
                    if (count == LANES) store(y.data + i * across + j, d);
                    else store(y.data + i * across + j, d, count);
                }
        });
    });
}

// The gradient by one row a of its distances y to the rows of b, whose gradients are g. share: across values.
template <class F>
static void row_gradient(const real* g, const real* a, const real* b, const real* y, i64 across, i64 m, real p,
                         real* share, real* da) {
    for_vectors(across, [=](i64 j, auto lanes) {
        const V d = lanes.load(y + j), gv = lanes.load(g + j);
        const V by = std::is_same_v<F, Squares> ? gv / d
                     : std::is_same_v<F, Any>   ? gv * vpow(d, splat(1 - p))
                                                : gv;
        lanes.store(share + j, d == 0 ? V{} : by);
    });
    for_vectors(m, [=](i64 k, auto lanes) {
        const V at = lanes.load(a + k);
        const auto of = [=](i64 j) { return share[j] * F::slope(at - lanes.load(b + j * m + k), splat(y[j]), p); };
        V sum[4] = {};   // four chains, as one waits for each of its sums
        i64 j = 0;
        for (; j + 4 <= across; j += 4)
            for (int c = 0; c < 4; ++c) sum[c] += of(j + c);
        for (; j < across; ++j) sum[0] += of(j);
        lanes.store(da + k, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    });
}

void cdist_backward(In<real> g, In<real> a, In<real> b, In<real> y, double p, Out<real> da) {
    const i64 rows = a.dim(1), across = b.dim(1), m = a.dim(2);
    by_order(p, [&](auto f) {
        parallel_for(a.dim(0) * rows, 1 + 32768 / (across * (m + 16) + 1), [&](i64 begin, i64 end) {
            Scratch<real> share(across + LANES);
            for (i64 i = begin; i < end; ++i)
                row_gradient<decltype(f)>(g.data + i * across, a.data + i * m, b.data + i / rows * across * m,
                                          y.data + i * across, across, m, real(p), share, da.data + i * m);
        });
    });
}

// Where the pair (i, i + 1) lies among (0, 1), (0, 2), ..., (1, 2), ... of n rows.
static i64 pairs_before(i64 i, i64 n) { return i * (2 * n - i - 1) / 2; }

// The pairs of the rows before a panel's last with its columns: four rows at a time are measured aside, as what
// lies left of the diagonal is no pair.
template <class F> static void pairs_by_panels(In<real> x, real p, Out<real> y) {
    constexpr i64 WIDE = ACROSS * LANES, ROWS_OF_TASK = 64;
    const i64 n = x.dim(0), m = x.dim(1), panels = (n + WIDE - 1) / WIDE,
              strips = (n + ROWS_OF_TASK - 1) / ROWS_OF_TASK;
    parallel_for(panels * strips, 1 + 1024 / (m + 16), [&](i64 begin, i64 end) {
        Scratch<real> panel(m * WIDE);
        real          aside[4 * WIDE];
        for (i64 task = begin; task < end; ++task) {
            const i64 column = task / strips * WIDE, columns = n - column < WIDE ? n - column : WIDE,
                      ahead = column + columns - 1, first = task % strips * ROWS_OF_TASK,
                      last = first + ROWS_OF_TASK < ahead ? first + ROWS_OF_TASK : ahead;
            if (first >= last) continue;
            pack_columns_transposed(x.data + column * m, m, m, columns, ACROSS, panel);
            for (i64 i = first; i < last;) {
                const int rows = i + 4 <= last ? 4 : 1;
                if (rows == 4) panel_distances<F, 4>(x.data + i * m, panel, m, p, aside, WIDE, columns);
                else panel_distances<F, 1>(x.data + i * m, panel, m, p, aside, WIDE, columns);
                for (int r = 0; r < rows; ++r, ++i) {
                    const i64   from = i < column ? column : i + 1;
                    const real* row  = aside + r * WIDE + from - column;
                    real* const to   = y.data + pairs_before(i, n) + from - i - 1;
                    for_vectors(column + columns - from, [=](i64 k, auto lanes) {
                        lanes.store(to + k, lanes.load(row + k));
                    });
                }
            }
        }
    });
}

void pdist(In<real> x, double p, Out<real> y) {
    const i64 n = x.dim(0), m = x.dim(1);
    constexpr i64 SHORT = 256;
    by_order(p, [&](auto f) {
        if (m <= SHORT && n >= LANES) return pairs_by_panels<decltype(f)>(x, real(p), y);
        parallel_for(n, 1 + 65536 / (n * (m + 16) + 1), [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i)
                for (i64 j = i + 1; j < n; j += LANES) {
                    const int   count = n - j < LANES ? (int)(n - j) : LANES;
                    real* const to    = y.data + pairs_before(i, n) + j - i - 1;
                    const V d = distances<decltype(f)>(x.data + i * m, x.data + j * m, count, m, real(p));
                    if (count == LANES) store(to, d);
                    else store(to, d, count);
                }
        });
    });
}

// A row's gradient comes from its pairs with the rows before it, one of each of theirs, and with those behind.
void pdist_backward(In<real> g, In<real> x, In<real> y, double p, Out<real> dx) {
    const i64 n = x.dim(0), m = x.dim(1);
    if (n == 1) return for_vectors(m, [&](i64 k, auto lanes) { lanes.store(dx.data + k, V{}); });
    by_order(p, [&](auto f) {
        parallel_for(n, 1 + 32768 / (n * (m + 16) + 1), [&](i64 begin, i64 end) {
            Scratch<real> memory(3 * n + LANES);
            real *const towards = memory, *const away = towards + n, *const share = away + n;
            for (i64 i = begin; i < end; ++i) {
                for (i64 j = 0, at = i - 1; j < i; at += n - j - 2, ++j) towards[j] = g.data[at], away[j] = y.data[at];
                towards[i] = away[i] = 0;
                const i64   behind = pairs_before(i, n), count = n - i - 1;
                const real *of = g.data + behind, *to = y.data + behind;
                real *const g_row = towards + i + 1, *const y_row = away + i + 1;
                for_vectors(count, [=](i64 k, auto lanes) {
                    lanes.store(g_row + k, lanes.load(of + k));
                    lanes.store(y_row + k, lanes.load(to + k));
                });
                row_gradient<decltype(f)>(towards, x.data + i * m, x.data, away, n, m, real(p), share, dx.data + i * m);
            }
        });
    });
}

END_KERNELS
