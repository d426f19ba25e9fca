// Elementwise functions and arithmetic. A unary function is one loop over a functor of V; short
// enough for the memory to be the limit. What a loop needs it holds by value: a vector that is stored may be
// anything for all the compiler knows, so that what it holds by reference is read again for each.
#include "elementwise/broadcast.h"
#include "simd_math.h"

BEGIN_KERNELS

template <class F> static inline void unary(In<real> x, Out<real> y, i64 grain, F f) {
    const i64 vectors = (x.size() + LANES - 1) / LANES, n = x.size();
    parallel_for(vectors, grain / LANES, [&](i64 begin, i64 end) {
        const i64 from = begin * LANES, to = end * LANES < n ? end * LANES : n;
        const real* const values = x.data + from;
        real* const results = y.data + from;
        for_vectors(to - from,
                    [=](i64 i, auto lanes) { lanes.store(results + i, f(lanes.load(values + i))); });
    });
}
// dx = f(g, v) for a saved array v: the input or the result
template <class F> static inline void chain(In<real> g, In<real> v, Out<real> dx, F f) {
    const i64 vectors = (g.size() + LANES - 1) / LANES, n = g.size();
    parallel_for(vectors, 16384 / LANES, [&](i64 begin, i64 end) {
        const i64 from = begin * LANES, to = end * LANES < n ? end * LANES : n;
        const real *const towards = g.data + from, *const saved = v.data + from;
        real* const slopes = dx.data + from;
        for_vectors(to - from, [=](i64 i, auto lanes) {
            lanes.store(slopes + i, f(lanes.load(towards + i), lanes.load(saved + i)));
        });
    });
}

void neg(In<real> x, Out<real> y) { unary(x, y, CHEAP, [](V v) { return -v; }); }
void abs(In<real> x, Out<real> y) { unary(x, y, CHEAP, [](V v) { return vabs(v); }); }
void square(In<real> x, Out<real> y) { unary(x, y, CHEAP, [](V v) { return v * v; }); }
void sqrt(In<real> x, Out<real> y) { unary(x, y, CHEAP, [](V v) { return vsqrt(v); }); }
void rsqrt(In<real> x, Out<real> y) { unary(x, y, COSTLY, [](V v) { return 1 / vsqrt(v); }); }
void reciprocal(In<real> x, Out<real> y) { unary(x, y, CHEAP, [](V v) { return 1 / v; }); }
void exp(In<real> x, Out<real> y) { unary(x, y, COSTLY, [](V v) { return vexp(v); }); }
void expm1(In<real> x, Out<real> y) { unary(x, y, COSTLY, [](V v) { return vexpm1(v); }); }
void log(In<real> x, Out<real> y) { unary(x, y, COSTLY, [](V v) { return vlog(v); }); }
void log1p(In<real> x, Out<real> y) { unary(x, y, COSTLY, [](V v) { return vlog1p(v); }); }
void erf(In<real> x, Out<real> y) { unary(x, y, COSTLY, [](V v) { return verf(v); }); }
void tanh(In<real> x, Out<real> y) { unary(x, y, COSTLY, [](V v) { return vtanh(v); }); }
void sigmoid(In<real> x, Out<real> y) { unary(x, y, COSTLY, [](V v) { return vsigmoid(v); }); }
void tanh_backward(In<real> g, In<real> y, Out<real> dx) {
    chain(g, y, dx, [](V g, V y) { return g * (1 - y * y); });
}
void sigmoid_backward(In<real> g, In<real> y, Out<real> dx) {
    chain(g, y, dx, [](V g, V y) { return g * (y * (1 - y)); });
}
void abs_backward(In<real> g, In<real> x, Out<real> dx) {
    chain(g, x, dx, [](V g, V x) { return x > 0 ? g : x < 0 ? -g : g * x; });   // 0 at 0, NaN at NaN
}
void sqrt_backward(In<real> g, In<real> y, Out<real> dx) {
    chain(g, y, dx, [](V g, V y) { return g / (2 * y); });
}
void rsqrt_backward(In<real> g, In<real> y, Out<real> dx) {
    chain(g, y, dx, [](V g, V y) { return real(-0.5) * g * (y * y * y); });
}
void reciprocal_backward(In<real> g, In<real> y, Out<real> dx) {
    chain(g, y, dx, [](V g, V y) { return -g * (y * y); });
}
void erf_backward(In<real> g, In<real> x, Out<real> dx) {
    // 2 / sqrt(pi)
    chain(g, x, dx, [](V g, V x) { return g * real(1.12837916709551257390) * vexp(-(x * x)); });
}

void clamp(In<real> x, double low, double high, Out<real> y) {
    unary(x, y, CHEAP, [=](V v) { return clamp_to(v, (real)low, (real)high); });
}
void clamp_backward(In<real> g, In<real> x, double low, double high, Out<real> dx) {
    chain(g, x, dx, [=](V g, V x) { return ((x >= (real)low) & (x <= (real)high)) ? g : V{}; });
}

void add(In<real> a, In<real> b, Dims shape, Dims sa, Dims sb, double alpha, Out<real> y) {
    const real s = (real)alpha;
    if (s == 1)
        broadcast<2>({{a.data, sa}, {b.data, sb}}, shape, y, CHEAP, [](const V* v) { return v[0] + v[1]; });
    else
        broadcast<2>({{a.data, sa}, {b.data, sb}}, shape, y, CHEAP,
                     [=](const V* v) { return v[0] + s * v[1]; });
}
void mul(In<real> a, In<real> b, Dims shape, Dims sa, Dims sb, Out<real> y) {
    broadcast<2>({{a.data, sa}, {b.data, sb}}, shape, y, CHEAP, [](const V* v) { return v[0] * v[1]; });
}
void div(In<real> a, In<real> b, Dims shape, Dims sa, Dims sb, Out<real> y) {
    broadcast<2>({{a.data, sa}, {b.data, sb}}, shape, y, CHEAP, [](const V* v) { return v[0] / v[1]; });
}
void maximum(In<real> a, In<real> b, Dims shape, Dims sa, Dims sb, Out<real> y) {
    broadcast<2>({{a.data, sa}, {b.data, sb}}, shape, y, CHEAP,
                 [](const V* v) { return v[0] != v[0] ? v[0] : vmax(v[0], v[1]); });
}
void minimum(In<real> a, In<real> b, Dims shape, Dims sa, Dims sb, Out<real> y) {
    broadcast<2>({{a.data, sa}, {b.data, sb}}, shape, y, CHEAP,
                 [](const V* v) { return v[0] != v[0] ? v[0] : vmin(v[0], v[1]); });
}
// what of g goes to a, where y = maximum(a, b): all, half of it at a tie, or nothing
void maximum_backward(In<real> g, In<real> a, In<real> b, Dims shape, Dims sg, Dims sa, Dims sb,
                      Out<real> da) {
    broadcast<3>({{g.data, sg}, {a.data, sa}, {b.data, sb}}, shape, da, CHEAP,
                 [](const V* v) { return v[1] > v[2] ? v[0] : v[1] == v[2] ? v[0] * real(0.5) : V{}; });
}

void pow(In<real> a, In<real> b, Dims shape, Dims sa, Dims sb, Out<real> y) {
    const Operand in[2] = {{a.data, sa}, {b.data, sb}};
    // one for all: small integers and roots need no logarithm
    const real exponent = b.size() == 1 ? b.data[0] : NOT_A_NUMBER;
    if (exponent == 1) broadcast<2>(in, shape, y, CHEAP, [](const V* v) { return v[0]; });
    else if (exponent == 2) broadcast<2>(in, shape, y, CHEAP, [](const V* v) { return v[0] * v[0]; });
    else if (exponent == 3) broadcast<2>(in, shape, y, CHEAP, [](const V* v) { return v[0] * v[0] * v[0]; });
    else if (exponent == -1) broadcast<2>(in, shape, y, CHEAP, [](const V* v) { return 1 / v[0]; });
    else broadcast<2>(in, shape, y, COSTLY / 4, [](const V* v) { return vpow(v[0], v[1]); });
}
void pow_base_backward(In<real> g, In<real> a, In<real> b, Dims shape, Dims sg, Dims sa, Dims sb,
                       Out<real> da) {
    const Operand in[3] = {{g.data, sg}, {a.data, sa}, {b.data, sb}};
    const real exponent = b.size() == 1 ? b.data[0] : NOT_A_NUMBER;
    if (exponent == 2) broadcast<3>(in, shape, da, CHEAP, [](const V* v) { return 2 * v[0] * v[1]; });
    else if (exponent == 3)
        broadcast<3>(in, shape, da, CHEAP, [](const V* v) { return 3 * v[0] * (v[1] * v[1]); });
    else
        broadcast<3>(in, shape, da, COSTLY / 4,
                     [](const V* v) { return v[2] == 0 ? V{} : v[0] * (v[2] * vpow(v[1], v[2] - 1)); });
}
// y = a^b is among the inputs; 0^b has no slope in b unless it is infinite
void pow_exponent_backward(In<real> g, In<real> a, In<real> y, Dims shape, Dims sg, Dims sa, Dims sy,
                           Out<real> db) {
    broadcast<3>({{g.data, sg}, {a.data, sa}, {y.data, sy}}, shape, db, COSTLY,
                 [](const V* v) { return ((v[1] == 0) & (v[2] < INF)) ? V{} : v[0] * (v[2] * vlog(v[1])); });
}

// condition: 0 is false, anything else true
void where(In<real> condition, In<real> a, In<real> b, Dims shape, Dims sc, Dims sa, Dims sb, Out<real> y) {
    broadcast<3>({{condition.data, sc}, {a.data, sa}, {b.data, sb}}, shape, y, CHEAP,
                 [](const V* v) { return v[0] != 0 ? v[1] : v[2]; });
}
void expand(In<real> x, Dims shape, Dims sx, double scale, Out<real> y) {
    const real s = (real)scale;
    broadcast<1>({{x.data, sx}}, shape, y, CHEAP, [=](const V* v) { return v[0] * s; });
}

END_KERNELS
