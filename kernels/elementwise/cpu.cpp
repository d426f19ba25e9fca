// Elementwise functions and arithmetic. A unary function is one loop over a functor of V; short enough for the memory to be the limit.
#include "kernel.h"
#include "simd_math.h"

BEGIN_KERNELS

template <class F> static inline void unary(In<real> x, Out<real> y, i64 grain, F f) {
    const i64 vectors = (x.size() + LANES - 1) / LANES, n = x.size();
    parallel_for(vectors, grain / LANES, [&](i64 begin, i64 end) {
        const i64 from = begin * LANES, to = end * LANES < n ? end * LANES : n;
        for_vectors(to - from, [&](i64 i, auto lanes) { lanes.store(y.data + from + i, f(lanes.load(x.data + from + i))); });
    });
}
// dx = f(g, v) for a saved array v: the input or the result
template <class F> static inline void chain(In<real> g, In<real> v, Out<real> dx, F f) {
    const i64 vectors = (g.size() + LANES - 1) / LANES, n = g.size();
    parallel_for(vectors, 16384 / LANES, [&](i64 begin, i64 end) {
        const i64 from = begin * LANES, to = end * LANES < n ? end * LANES : n;
        for_vectors(to - from, [&](i64 i, auto lanes) {
            lanes.store(dx.data + from + i, f(lanes.load(g.data + from + i), lanes.load(v.data + from + i)));
        });
    });
}
constexpr i64 CHEAP = 32768, COSTLY = 8192;   // elements worth a thread: bound by memory, bound by arithmetic

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
void tanh_backward(In<real> g, In<real> y, Out<real> dx) { chain(g, y, dx, [](V g, V y) { return g * (1 - y * y); }); }
void sigmoid_backward(In<real> g, In<real> y, Out<real> dx) { chain(g, y, dx, [](V g, V y) { return g * (y * (1 - y)); }); }

END_KERNELS
