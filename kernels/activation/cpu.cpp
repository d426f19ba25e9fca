// Activation functions: one loop over x for y = f(x), one over (g, x) for dx = g f'(x). Each
// function is a pair of short functors. A kernel may be given the same array as x and y.
#include "activation/gelu.h"
#include "elementwise/broadcast.h"
#include "simd_math.h"

BEGIN_KERNELS

constexpr real INV_SQRT_2PI = 0.39894228040143267794;
constexpr real GELU_A = 0.79788456080286535588, GELU_B = 0.044715;   // sqrt(2 / pi)
constexpr real LECUN_A = 1.7159, LECUN_S = real(2. / 3);

template <int N, class F>
static inline void loop(const real* const (&in)[N], i64 n, real* y, i64 grain, F f) {
    parallel_for((n + LANES - 1) / LANES, grain / LANES, [&](i64 begin, i64 end) {
        const i64 from = begin * LANES, to = end * LANES < n ? end * LANES : n;
        struct { const real* p[N]; } at;   // held by value, as in elementwise/cpu.cpp
        for (int k = 0; k < N; ++k) at.p[k] = in[k] + from;
        real* const out = y + from;
        for_vectors(to - from, [=](i64 i, auto lanes) {
            V v[N];
            for (int k = 0; k < N; ++k) v[k] = lanes.load(at.p[k] + i);
            lanes.store(out + i, f(v));
        });
    });
}
template <class F> static inline void map(In<real> x, Out<real> y, i64 grain, F f) {
    loop<1>({x.data}, x.size(), y.data, grain, [=](const V* v) { return f(v[0]); });
}
// slope(x) times g
template <class F> static inline void chain(In<real> g, In<real> x, Out<real> dx, i64 grain, F slope) {
    loop<2>({g.data, x.data}, x.size(), dx.data, grain, [=](const V* v) { return v[0] * slope(v[1]); });
}
// g where the mask of x says so, else 0
template <class F> static inline void gate(In<real> g, In<real> x, Out<real> dx, F open) {
    loop<2>({g.data, x.data}, x.size(), dx.data, CHEAP, [=](const V* v) { return open(v[1]) ? v[0] : V{}; });
}

// vmax keeps its second operand's NaN
void relu(In<real> x, Out<real> y) { map(x, y, CHEAP, [](V x) { return vmax(V{}, x); }); }
void relu_backward(In<real> g, In<real> x, Out<real> dx) { gate(g, x, dx, [](V x) { return ~(x <= 0); }); }

void hardtanh(In<real> x, double low, double high, Out<real> y) {
    map(x, y, CHEAP, [=](V x) { return clamp_to(x, (real)low, (real)high); });
}
void hardtanh_backward(In<real> g, In<real> x, double low, double high, Out<real> dx) {
    gate(g, x, dx, [=](V x) { return ~((x <= (real)low) | (x >= (real)high)); });
}

void threshold(In<real> x, double at, double value, Out<real> y) {
    map(x, y, CHEAP, [=](V x) { return x <= (real)at ? splat((real)value) : x; });
}
void threshold_backward(In<real> g, In<real> x, double at, double, Out<real> dx) {
    gate(g, x, dx, [=](V x) { return ~(x <= (real)at); });
}

// 0 within `at` of 0, `bias` less far from it
void shrink(In<real> x, double at, double bias, Out<real> y) {
    map(x, y, CHEAP, [=](V x) { return vabs(x) <= (real)at ? V{} : x - with_sign(splat((real)bias), x); });
}
void shrink_backward(In<real> g, In<real> x, double at, double, Out<real> dx) {
    gate(g, x, dx, [=](V x) { return ~(vabs(x) <= (real)at); });
}

void leaky_relu(In<real> x, double slope, Out<real> y) {
    map(x, y, CHEAP, [=](V x) { return x > 0 ? x : x * (real)slope; });
}
void leaky_relu_backward(In<real> g, In<real> x, double slope, Out<real> dx) {
    chain(g, x, dx, CHEAP, [=](V x) { return x > 0 ? splat(1) : splat((real)slope); });
}

// elu, celu and selu: scale * (x, or alpha (e^(inner x) - 1) where x <= 0)
void elu(In<real> x, double alpha, double scale, double inner, Out<real> y) {
    const real negative = (real)(alpha * scale), positive = (real)scale, k = (real)inner;
    map(x, y, COSTLY, [=](V x) { return x > 0 ? x * positive : negative * vexpm1(x * k); });
}
void elu_backward(In<real> g, In<real> x, double alpha, double scale, double inner, Out<real> dx) {
    const real negative = (real)(alpha * scale * inner), positive = (real)scale, k = (real)inner;
    chain(g, x, dx, COSTLY, [=](V x) { return x > 0 ? splat(positive) : negative * vexp(x * k); });
}

void gelu(In<real> x, Out<real> y) {
    constexpr i64 STEP = GELU_TOGETHER * LANES;
    const i64 n = x.size();
    parallel_for((n + STEP - 1) / STEP, COSTLY / STEP, [&](i64 begin, i64 end) {
        const i64 from = begin * STEP, last = end * STEP < n ? end * STEP : n, whole = last / LANES * LANES;
        gelu_all(x.data + from, y.data + from, whole - from);
        for_vectors(last - whole, [&](i64 j, auto lanes) {
            lanes.store(y.data + whole + j, gelu_of(lanes.load(x.data + whole + j)));
        });
    });
}
void gelu_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, COSTLY, [](V x) {
        return real(0.5) * one_and_erf(x) + x * INV_SQRT_2PI * vexp(real(-0.5) * x * x);
    });
}
void gelu_tanh(In<real> x, Out<real> y) {
    map(x, y, COSTLY, [](V x) { return gelu_tanh_of(x); });
}
void gelu_tanh_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, COSTLY, [](V x) {
        const V t = vtanh(GELU_A * (x + GELU_B * x * x * x));
        return real(0.5) * (1 + t) + real(0.5) * x * (1 - t * t) * (GELU_A * (1 + 3 * GELU_B * x * x));
    });
}

void silu(In<real> x, Out<real> y) { map(x, y, COSTLY, [](V x) { return x * vsigmoid(x); }); }
void silu_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, COSTLY, [](V x) { const V s = vsigmoid(x); return s * (1 + x * (1 - s)); });
}

// tanh(log(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2); it is 1 from x = 30 on
static inline V mish_n(V x) {
    const V e = vexp(vmin(splat(30), x));
    return e * (e + 2);
}
void mish(In<real> x, Out<real> y) {
    map(x, y, COSTLY, [](V x) {
        const V n = mish_n(x);
        return x * (n / (n + 2));
    });
}
void mish_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, COSTLY, [](V x) {
        const V n = mish_n(x), t = n / (n + 2);
        return t + x * vsigmoid(x) * ((1 - t) * (1 + t));
    });
}

void hardswish(In<real> x, Out<real> y) {
    map(x, y, CHEAP, [](V x) { return x * clamp_to(x + 3, 0, 6) / 6; });
}
void hardswish_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, CHEAP, [](V x) { return x <= -3 ? V{} : x >= 3 ? splat(1) : x / 3 + real(0.5); });
}
void hardsigmoid(In<real> x, Out<real> y) { map(x, y, CHEAP, [](V x) { return clamp_to(x + 3, 0, 6) / 6; }); }
void hardsigmoid_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, CHEAP, [](V x) { return ((x > -3) & (x < 3)) ? splat(real(1. / 6)) : V{}; });
}

void scaled_tanh(In<real> x, Out<real> y) {
    map(x, y, COSTLY, [](V x) { return LECUN_A * vtanh(LECUN_S * x); });
}
void scaled_tanh_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, COSTLY, [](V x) {
        const V t = vtanh(LECUN_S * x);
        return LECUN_A * LECUN_S * (1 - t * t);
    });
}

void logsigmoid(In<real> x, Out<real> y) {
    map(x, y, COSTLY, [](V x) { return vmin(V{}, x) - vlog1p(vexp(-vabs(x))); });
}
void logsigmoid_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, COSTLY, [](V x) { return vsigmoid(-x); });
}

void softplus(In<real> x, double beta, double threshold, Out<real> y) {
    const real b = (real)beta, inv = (real)(1 / beta), linear = (real)threshold;
    map(x, y, COSTLY, [=](V x) {
        const V z = x * b;
        return z > linear ? x : (vmax(V{}, z) + vlog1p(vexp(-vabs(z)))) * inv;
    });
}
void softplus_backward(In<real> g, In<real> x, double beta, double threshold, Out<real> dx) {
    const real b = (real)beta, linear = (real)threshold;
    chain(g, x, dx, COSTLY, [=](V x) { const V z = x * b; return z > linear ? splat(1) : vsigmoid(z); });
}

void softsign(In<real> x, Out<real> y) { map(x, y, CHEAP, [](V x) { return x / (1 + vabs(x)); }); }
void softsign_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, CHEAP, [](V x) { const V d = 1 + vabs(x); return 1 / (d * d); });
}

// weight broadcasts along x; its gradient's terms have the shape of x
void prelu(In<real> x, In<real> weight, Dims shape, Dims sx, Dims sw, Out<real> y) {
    broadcast<2>({{x.data, sx}, {weight.data, sw}}, shape, y, CHEAP,
                 [](const V* v) { return v[0] > 0 ? v[0] : v[0] * v[1]; });
}
void prelu_backward(In<real> g, In<real> x, In<real> weight, Dims shape, Dims sg, Dims sx, Dims sw,
                    Out<real> dx) {
    broadcast<3>({{g.data, sg}, {x.data, sx}, {weight.data, sw}}, shape, dx, CHEAP,
                 [](const V* v) { return v[1] > 0 ? v[0] : v[0] * v[2]; });
}
void prelu_weight_terms(In<real> g, In<real> x, Out<real> terms) {
    chain(g, x, terms, CHEAP, [](V x) { return x > 0 ? V{} : x; });
}

// f(at, from, count): `count` values from place `at` of the result on, and their values in x from `from` on;
// their gates lie `half` behind.
template <class F> static inline void gated(i64 half, i64 n, F f) {
    constexpr i64 BLOCK = 4096;
    const i64 pieces = (half + BLOCK - 1) / BLOCK, rows = half ? n / half : 0;
    const i64 each = half < BLOCK ? half : BLOCK;
    parallel_for(rows * pieces, 1 + COSTLY / (each + 1), [&](i64 begin, i64 end) {
        for (i64 t = begin; t < end; ++t) {
            const i64 row = t / pieces, from = t % pieces * BLOCK;
            f(row * half + from, 2 * row * half + from, half - from < BLOCK ? half - from : BLOCK);
        }
    });
}
void glu(In<real> x, i64 half, Out<real> y) {
    gated(half, y.size(), [&](i64 at, i64 from, i64 count) {
        const real* const value = x.data + from;
        real* const out = y.data + at;
        for_vectors(count, [=](i64 i, auto lanes) {
            lanes.store(out + i, lanes.load(value + i) * vsigmoid(lanes.load(value + half + i)));
        });
    });
}
void glu_backward(In<real> g, In<real> x, i64 half, Out<real> dx) {
    gated(half, g.size(), [&](i64 at, i64 from, i64 count) {
        const real* const value = x.data + from;
        real* const slope = dx.data + from;
        const real* const towards = g.data + at;
        for_vectors(count, [=](i64 i, auto lanes) {
            const V open = vsigmoid(lanes.load(value + half + i)), passed = lanes.load(towards + i) * open;
            lanes.store(slope + i, passed);
            lanes.store(slope + half + i, passed * lanes.load(value + i) * (1 - open));
        });
    });
}

END_KERNELS
