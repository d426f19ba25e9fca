// y = x W' s + b with weights of int8 as they lie, (outputs, features), a scale an output; and the
// gradient of x. Weights are widened to reals in registers, sums are reals, and a scale multiplies the
// sum: y[r][o] = scale[o] sum_i x[r][i] w[o][i] + bias[o].
//
// Few rows take the time of reading the weights, a quarter of that of floats. A tile is R rows x OUTPUTS
// dot products of whole vectors, whose weights are widened once for all its rows; a row's sums are one
// chain in the order of the features, whatever the rows beside it and threads. The gradient walks the
// outputs instead, and keeps R rows x PARTS vectors of features: dx[r] = sum_o (dy[r][o] scale[o]) w[o].
#include "kernel.h"
#include "widen.h"

BEGIN_KERNELS
namespace {
constexpr int ROWS = 4, OUTPUTS = 4, PARTS = 2;
constexpr i64 TOGETHER = 16;   // outputs of a task, whose weights stay in the cache while all rows pass

i64 smaller(i64 a, i64 b) { return a < b ? a : b; }

// The first numbers of p, then zeros
V widened(const s8* p, Whole) { return widen(p); }
V widened(const s8* p, Tail lanes) {
    V v{};
    for (int i = 0; i < lanes.count; ++i) v[i] = p[i];
    return v;
}

// a b + c rounded once where the set can, in every tile: left to itself, the compiler does so in some
inline V times_plus(V a, V b, V c) {
#if defined(REAL_f32) && defined(__AVX512F__)
    return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(REAL_f32) && defined(__AVX2__)
    return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__AVX512F__)
    return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__)
    return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return a * b + c;
#endif
}

template <int R, int O>
void dots(const real* x, const s8* w, i64 features, const real* scale, const real* bias, real* y, i64 pitch) {
    V acc[R][O] = {};
    for_vectors(features, [&](i64 i, auto lanes) {
        V wide[O];
        #pragma GCC unroll 4
        for (int o = 0; o < O; ++o) wide[o] = widened(w + o * features + i, lanes);
        #pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            const V xv = lanes.load(x + r * features + i);
            #pragma GCC unroll 4
            for (int o = 0; o < O; ++o) acc[r][o] = times_plus(xv, wide[o], acc[r][o]);
        }
    });
    for (int r = 0; r < R; ++r)
        for (int o = 0; o < O; ++o) {
            const real scaled = hsum(acc[r][o]) * scale[o];
            y[r * pitch + o] = bias ? scaled + bias[o] : scaled;
        }
}

template <int R>
void row_of_dots(i64 outputs, const real* x, const s8* w, i64 features, const real* scale, const real* bias, real* y,
                 i64 pitch) {
    i64 o = 0;
    for (; o + OUTPUTS <= outputs; o += OUTPUTS)
        dots<R, OUTPUTS>(x, w + o * features, features, scale + o, bias ? bias + o : nullptr, y + o, pitch);
    for (; o < outputs; ++o)
        dots<R, 1>(x, w + o * features, features, scale + o, bias ? bias + o : nullptr, y + o, pitch);
}

// dx of R rows and P vectors of features (one that `lanes` may cut short)
template <int R, int P, class Lanes>
void slopes(Lanes lanes, const real* scaled, i64 outputs, const s8* w, i64 features, real* dx) {
    V acc[R][P] = {};
    for (i64 o = 0; o < outputs; ++o, w += features)
        #pragma GCC unroll 2
        for (int p = 0; p < P; ++p) {
            const V wide = widened(w + p * LANES, lanes);
            #pragma GCC unroll 4
            for (int r = 0; r < R; ++r) acc[r][p] = times_plus(splat(scaled[r * outputs + o]), wide, acc[r][p]);
        }
    for (int r = 0; r < R; ++r)
        for (int p = 0; p < P; ++p) lanes.store(dx + r * features + p * LANES, acc[r][p]);
}

// Features [i, end)
template <int R>
void row_of_slopes(i64 i, i64 end, const real* scaled, i64 outputs, const s8* w, i64 features, real* dx) {
    for (; i + PARTS * LANES <= end; i += PARTS * LANES)
        slopes<R, PARTS>(Whole{}, scaled, outputs, w + i, features, dx + i);
    for (; i + LANES <= end; i += LANES) slopes<R, 1>(Whole{}, scaled, outputs, w + i, features, dx + i);
    if (i < end) slopes<R, 1>(Tail{(int)(end - i)}, scaled, outputs, w + i, features, dx + i);
}

// f(R, first row) for groups of R rows, a constant
template <class F> void by_rows(i64 rows, F f) {
    i64 r = 0;
    for (; r + ROWS <= rows; r += ROWS) f(std::integral_constant<int, ROWS>{}, r);
    if (rows - r == 3) f(std::integral_constant<int, 3>{}, r);
    if (rows - r == 2) f(std::integral_constant<int, 2>{}, r);
    if (rows - r == 1) f(std::integral_constant<int, 1>{}, r);
}
}  // namespace

void linear_int8(In<real> x, InAny weight, In<real> scale, In<real> bias, Out<real> y) {
    const s8* const w = weight.as<const s8>();
    const i64 outputs = weight.dim(0), features = weight.dim(1), rows = outputs ? y.size() / outputs : 0,
              blocks = (outputs + TOGETHER - 1) / TOGETHER;
    parallel_for(blocks, 1 + 40000 / (TOGETHER * features * rows + 1), [&](i64 begin, i64 end) {
        for (i64 o = begin * TOGETHER; o < smaller(outputs, end * TOGETHER); o += TOGETHER)
            by_rows(rows, [&](auto R, i64 r) {
                row_of_dots<R>(smaller(outputs - o, TOGETHER), x.data + r * features, w + o * features, features,
                               scale.data + o, bias ? bias.data + o : nullptr, y.data + r * outputs + o, outputs);
            });
    });
}

void linear_int8_input_gradient(In<real> dy, InAny weight, In<real> scale, Out<real> dx) {
    const s8* const w = weight.as<const s8>();
    const i64 outputs = weight.dim(0), features = weight.dim(1), rows = features ? dx.size() / features : 0,
              span = PARTS * LANES * 4, blocks = (features + span - 1) / span;
    Scratch<real> scaled(rows * outputs + 1);
    for (i64 r = 0; r < rows; ++r)
        for_vectors(outputs, [&](i64 o, auto lanes) {
            lanes.store(scaled + r * outputs + o, lanes.load(dy.data + r * outputs + o) * lanes.load(scale.data + o));
        });
    parallel_for(blocks, 1 + 40000 / (span * outputs * rows + 1), [&](i64 begin, i64 end) {
        by_rows(rows, [&](auto R, i64 r) {
            row_of_slopes<R>(begin * span, smaller(features, end * span), scaled + r * outputs, outputs, w, features,
                             dx.data + r * features);
        });
    });
}
END_KERNELS
