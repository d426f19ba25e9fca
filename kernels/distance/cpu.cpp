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

void cdist_backward(In<real> g, In<real> a, In<real> b, In<real> y, double p, Out<real> da) {
    const i64 rows = a.dim(1), across = b.dim(1), m = a.dim(2);
    by_order(p, [&](auto f) {
        using F = decltype(f);
        parallel_for(a.dim(0) * rows, 1 + 32768 / (across * (m + 16) + 1), [&](i64 begin, i64 end) {
            Scratch<real> share(across + LANES);
            for (i64 i = begin; i < end; ++i) {
                const real *to = y.data + i * across, *of = g.data + i * across, *from = b.data + i / rows * across * m;
                for_vectors(across, [&](i64 j, auto lanes) {
                    const V d = lanes.load(to + j), gv = lanes.load(of + j);
                    const V by = std::is_same_v<F, Squares> ? gv / d
                                 : std::is_same_v<F, Any>   ? gv * vpow(d, splat(real(1 - p)))
                                                            : gv;
                    lanes.store(share + j, d == 0 ? V{} : by);
                });
                for_vectors(m, [&](i64 k, auto lanes) {
                    const V at = lanes.load(a.data + i * m + k);
                    V sum{};
                    for (i64 j = 0; j < across; ++j)
                        sum += share[j] * F::slope(at - lanes.load(from + j * m + k), splat(to[j]), real(p));
                    lanes.store(da.data + i * m + k, sum);
                });
            }
        });
    });
}

END_KERNELS
