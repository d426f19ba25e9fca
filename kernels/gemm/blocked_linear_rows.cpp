// y = act(x W' + b) for few rows of x, with the weights as the model holds them: (filters,
// features).
//
// Few rows leave this bound by reading the weights, which happens once, in place: no packed copy
// takes memory. A tile is F filters x R rows, a vector of partial sums each, so F streams of
// weights are in flight. Where these come from memory, the filters of a tile lie far apart, so that
// each stream goes on from tile to tile, and they are fetched past the second-level cache, which
// then keeps x. A result is the sum of its lanes in one fixed order,
// whatever the number of rows and threads.
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
#if defined(__AVX512F__)
constexpr int MOST_ROWS = 4, FILTERS = 4;
#else
constexpr int MOST_ROWS = 2, FILTERS = 4;
#endif

constexpr i64 CACHED = 4 << 20;   // values of weights: 16 MB
constexpr i64 AHEAD  = 512;       // values of a filter that are on their way from memory

// F filters, `apart` values from one to the next from w on, against R rows from x; sums[f * R + r]
template <int F, int R, bool FAR> void dot_tile(const real* x, const real* w, i64 apart, i64 features, real* sums) {
    V acc[F][R] = {};
    const auto step = [&](i64 c, auto lanes) {
        V xv[R];
        #pragma GCC unroll 8
        for (int r = 0; r < R; ++r) xv[r] = lanes.load(x + r * features + c);
        #pragma GCC unroll 8
        for (int f = 0; f < F; ++f) {
            if (FAR) __builtin_prefetch(w + f * apart + c + AHEAD, 0, 0);
            const V wv = lanes.load(w + f * apart + c);
            #pragma GCC unroll 8
            for (int r = 0; r < R; ++r) acc[f][r] += xv[r] * wv;
        }
    };
    for_vectors(features, step);
    for (int f = 0; f < F; ++f)
        for (int r = 0; r < R; ++r) sums[f * R + r] = hsum(acc[f][r]);
}

template <int F, bool FAR>
void dot_rows(int rows, const real* x, const real* w, i64 apart, i64 features, real* sums) {
    switch (rows) {
        case 1: return dot_tile<F, 1, FAR>(x, w, apart, features, sums);
        case 2: return dot_tile<F, 2, FAR>(x, w, apart, features, sums);
#if defined(__AVX512F__)
        case 3: return dot_tile<F, 3, FAR>(x, w, apart, features, sums);
        case 4: return dot_tile<F, 4, FAR>(x, w, apart, features, sums);
#endif
    }
}

// Results of filters [begin, end) of one row, in place
void finish_row(real* y, const real* bias, i64 begin, i64 end, const Epilogue& e) {
    const Clamp clamp(e);
    for (i64 k = begin; k < end; k += LANES) {
        const int n = end - k < LANES ? (int)(end - k) : LANES;
        alignas(64) real v[LANES];
        const V sum = load(y + k, n);
        store(v, clamp(bias ? sum + load(bias + k, n) : sum));
        e.finish(v, LANES);
        store(y + k, load(v), n);
    }
}

// COUNT filters k, k + apart, ... against all rows; the filters stay in L2 meanwhile
template <int COUNT, bool FAR>
void filters_times_rows(In<real> x, In<real> weight, i64 k, i64 apart, Out<real> y) {
    const i64 rows = x.dim(0), features = x.dim(1), filters = weight.dim(0);
    for (i64 first = 0; first < rows; first += MOST_ROWS) {
        const int some = rows - first < MOST_ROWS ? (int)(rows - first) : MOST_ROWS;
        real sums[COUNT * MOST_ROWS];
        dot_rows<COUNT, FAR>(some, x.data + first * features, weight.data + k * features, apart * features,
                             features, sums);
        for (int f = 0; f < COUNT; ++f)
            for (int r = 0; r < some; ++r) y.data[(first + r) * filters + k + f * apart] = sums[f * some + r];
    }
}
}  // namespace

void linear_rows(In<real> x, In<real> weight, In<real> bias, Act act, Out<real> y) {
    const Epilogue e(act);
    const i64 rows = x.dim(0), features = x.dim(1), filters = weight.dim(0);
    parallel_for(filters, 1 + 60000 / (features * rows + 1), [&](i64 begin, i64 end) {
        const i64 tiles = (end - begin) / FILTERS, far = weight.size() > CACHED;
        for (i64 i = 0; i < tiles; ++i)
            if (far) filters_times_rows<FILTERS, true>(x, weight, begin + i, tiles, y);
            else filters_times_rows<FILTERS, false>(x, weight, begin + i * FILTERS, 1, y);
        for (i64 k = begin + tiles * FILTERS; k < end; ++k) filters_times_rows<1, false>(x, weight, k, 1, y);
        for (i64 r = 0; r < rows; ++r) finish_row(y.data + r * filters, bias.data, begin, end, e);
    });
}
END_KERNELS
