// Losses of one element each: a formula of x and a target t (some have a third argument v,
// parameters p and q) and its slopes, each fused with the weight and the reduction. Elements are
// summed by chunks of a fixed length (reduction.h).
// In a * b + c * d the compiler may fuse either product with the sum, and whole vectors and tails
// need not agree: `rounded` says which, so that an element's loss does not depend on its place.
#include "reduction.h"
#include "simd_math.h"

BEGIN_KERNELS

struct Element { V x, t, v; real p, q; };   // v is 1 where the caller left it out

static V zero_max(V x) { return x > 0 ? x : (x != x ? x : V{}); }
static V softplus(V x) { return zero_max(x) + vlog1p(vexp(-vabs(x))); }
static V sign(V x) { return x > 0 ? splat(1) : x < 0 ? splat(-1) : x; }
static V where(M m, V v) { return m ? v : V{}; }

// A formula whose slope for t is minus that for x.
struct L1 {
    static V value(const Element& e) { return vabs(e.x - e.t); }
    static V slope(const Element& e, i64 of) { return of ? sign(e.t - e.x) : sign(e.x - e.t); }
};
struct Mse {
    static V value(const Element& e) { return (e.x - e.t) * (e.x - e.t); }
    static V slope(const Element& e, i64 of) { return 2 * (of ? e.t - e.x : e.x - e.t); }
};
struct SmoothL1 {   // p: beta > 0
    static V value(const Element& e) {
        const V a = vabs(e.x - e.t);
        return a < e.p ? a * a * (real(0.5) / e.p) : a - e.p * real(0.5);
    }
    static V slope(const Element& e, i64 of) {
        const V d = of ? e.t - e.x : e.x - e.t;
        return vabs(d) < e.p ? d / e.p : sign(d);
    }
};
struct Huber {   // p: delta > 0
    static V value(const Element& e) {
        const V a = vabs(e.x - e.t);
        return a < e.p ? a * a * real(0.5) : e.p * (a - e.p * real(0.5));
    }
    static V slope(const Element& e, i64 of) {
        const V d = of ? e.t - e.x : e.x - e.t;
        return vabs(d) < e.p ? d : e.p * sign(d);
    }
};
// x outside [0, 1] has no logarithm here: its loss is NaN, by which the caller knows.
struct Bce {
    static V bounded_log(V log) { return vmax(splat(-100), log); }   // keeps NaN
    static V value(const Element& e) {
        return rounded((e.t - 1) * bounded_log(vlog1p(-e.x))) - e.t * bounded_log(vlog(e.x));
    }
    static V slope(const Element& e, i64 of) {
        if (of) return bounded_log(vlog1p(-e.x)) - bounded_log(vlog(e.x));
        return (e.x - e.t) / vmax((1 - e.x) * e.x, splat(real(1e-12)));
    }
};
struct BceWithLogits {   // v: pos_weight
    static V value(const Element& e) {
        return rounded((1 - e.t) * e.x) + ((e.v - 1) * e.t + 1) * softplus(-e.x);
    }
    static V slope(const Element& e, i64 of) {
        if (of) return (e.v - 1) * softplus(-e.x) - e.x;
        return (1 - e.t) - ((e.v - 1) * e.t + 1) * vsigmoid(-e.x);
    }
};
struct KlDiv {
    static V value(const Element& e) { return rounded(e.t == 0 ? V{} : e.t * vlog(e.t)) - e.t * e.x; }
    static V slope(const Element& e, i64 of) { return of ? vlog(e.t) + 1 - e.x : -e.t; }
};
struct KlDivLog {
    static V value(const Element& e) { return vexp(e.t) * (e.t - e.x); }
    static V slope(const Element& e, i64 of) { return of ? vexp(e.t) * (e.t - e.x + 1) : -vexp(e.t); }
};
// a q^gamma ce with ce = softplus(x) - t x, q = 1 - p_t the probability of the other class; p:
// alpha (< 0: none), q: gamma
struct Focal {
    static V power(V base, real exponent) {
        if (exponent == 0) return splat(1);
        if (exponent == 1) return base;
        return exponent == 2 ? base * base : vpow(base, splat(exponent));
    }
    static V balance(const Element& e) {
        return e.p < 0 ? splat(1) : rounded(e.p * e.t) + (1 - e.p) * (1 - e.t);
    }
    static V other(const Element& e) { return rounded(vsigmoid(e.x) * (1 - e.t)) + vsigmoid(-e.x) * e.t; }
    static V value(const Element& e) {
        return balance(e) * power(other(e), e.q) * (softplus(e.x) - e.t * e.x);
    }
    static V slope(const Element& e, i64 of) {
        const V yes = vsigmoid(e.x), no = vsigmoid(-e.x), q = other(e), a = balance(e),
                ce = softplus(e.x) - e.t * e.x;
        const V whole = power(q, e.q), lower = e.q == 0 ? V{} : e.q * power(q, e.q - 1);
        if (!of) return a * (rounded((yes - e.t) * whole) + ce * lower * (1 - 2 * e.t) * yes * no);
        const V of_balance = e.p < 0 ? V{} : splat(2 * e.p - 1);
        return rounded(of_balance * whole * ce) + a * (rounded(lower * (no - yes) * ce) - whole * e.x);
    }
};
// Stirling's t log t - t + log(2 pi t) / 2 for t > 1, where p is not 0
struct Stirling {
    static V value(const Element& e) {
        return e.p == 0 ? V{}
                        : where(e.t > 1,
                                e.t * vlog(e.t) - e.t + real(0.5) * vlog(real(6.283185307179586477) * e.t));
    }
    static V slope(const Element& e) { return e.p == 0 ? V{} : where(e.t > 1, vlog(e.t) + real(0.5) / e.t); }
};
struct PoissonLog {
    static V value(const Element& e) { return rounded(vexp(e.x)) - e.t * e.x + Stirling::value(e); }
    static V slope(const Element& e, i64 of) { return of ? Stirling::slope(e) - e.x : vexp(e.x) - e.t; }
};
struct Poisson {   // q: eps
    static V value(const Element& e) { return e.x - e.t * vlog(e.x + e.q) + Stirling::value(e); }
    static V slope(const Element& e, i64 of) {
        return of ? Stirling::slope(e) - vlog(e.x + e.q) : 1 - e.t / (e.x + e.q);
    }
};
struct Gaussian {   // v: variance; a negative one gives NaN. p: the least variance, q: the constant
    static V variance(const Element& e) { return e.v < 0 ? splat(NOT_A_NUMBER) : vmax(splat(e.p), e.v); }
    static V value(const Element& e) {
        const V s = variance(e), d = e.x - e.t;
        return real(0.5) * (vlog(s) + d * d / s) + e.q;
    }
    static V slope(const Element& e, i64 of) {
        const V s = variance(e), d = e.x - e.t;
        return of == 0 ? d / s : of == 1 ? -d / s : real(0.5) * (s - d * d) / (s * s);
    }
};
struct SoftMargin {
    static V value(const Element& e) { return softplus(-e.t * e.x); }
    static V slope(const Element& e, i64 of) { return (of ? -e.x : -e.t) * vsigmoid(-e.t * e.x); }
};
struct HingeEmbedding {   // p: margin; t is 1 or -1
    static V value(const Element& e) { return where(e.t != 1, zero_max(e.p - e.x)) + where(e.t != -1, e.x); }
    static V slope(const Element& e, i64) {
        return where((e.t != 1) & (e.x <= e.p), splat(-1)) + where(e.t != -1, splat(1));
    }
};
struct MarginRanking {   // v: the second input, p: margin
    static V value(const Element& e) { return zero_max(e.p - e.t * (e.x - e.v)); }
    static V slope(const Element& e, i64 of) {
        return where(e.p - e.t * (e.x - e.v) >= 0, of == 0 ? -e.t : of == 1 ? e.v - e.x : e.t);
    }
};

// The order is that of FORMULAS in reference.py.
template <class Use> static void with_formula(i64 number, Use use) {
    switch (number) {
        case 0: return use(L1{});
        case 1: return use(Mse{});
        case 2: return use(SmoothL1{});
        case 3: return use(Huber{});
        case 4: return use(Bce{});
        case 5: return use(BceWithLogits{});
        case 6: return use(KlDiv{});
        case 7: return use(KlDivLog{});
        case 8: return use(Focal{});
        case 9: return use(PoissonLog{});
        case 10: return use(Poisson{});
        case 11: return use(Gaussian{});
        case 12: return use(SoftMargin{});
        case 13: return use(HingeEmbedding{});
        case 14: return use(MarginRanking{});
    }
}

constexpr i64 CHUNK = 4096, GRAIN = 4;   // elements summed in a row; chunks worth a thread

void pointwise_loss(In<real> x, In<real> t, In<real> v, In<real> weight, i64 formula, double p, double q,
                    bool each, double count, Out<real> y, Out<real> divisor) {
    const i64 n = x.size(), chunks = (n + CHUNK - 1) / CHUNK;
    Scratch<Sums> sums(chunks);
    with_formula(formula, [&](auto f) {
        parallel_for(chunks, GRAIN, [&](i64 begin, i64 end) {
            for (i64 c = begin; c < end; ++c) {
                const i64 start = c * CHUNK, length = n - start < CHUNK ? n - start : CHUNK;
                V sum{}, of{};
                for_vectors(length, [&](i64 k, auto lanes) {
                    const i64 i = start + k;
                    V loss = decltype(f)::value({lanes.load(x.data + i), lanes.load(t.data + i),
                                                 v ? lanes.load(v.data + i) : splat(1), real(p), real(q)});
                    if (weight) {
                        const V w = lanes.load(weight.data + i);
                        loss *= w;
                        of += w;
                    }
                    if (each)
                        lanes.store(y.data + i, loss);
                    else
                        sum += lanes.keep(loss);
                });
                sums[c] = {(double)hsum(sum), (double)hsum(of)};
            }
        });
    });
    finish(sums, chunks, each, count, y.data, divisor.data);
}

// The gradient for argument `of`: 0 x, 1 t, 2 v. g has one value, or one an element.
void pointwise_loss_backward(In<real> g, In<real> x, In<real> t, In<real> v, In<real> weight,
                             In<real> divisor, i64 formula, double p, double q, i64 of, Out<real> dx) {
    const i64  n    = x.size();
    const bool each = g.size() == n;
    with_formula(formula, [&](auto f) {
        parallel_for((n + CHUNK - 1) / CHUNK, GRAIN, [&](i64 begin, i64 end) {
            const i64 first = begin * CHUNK, last = end * CHUNK < n ? end * CHUNK : n;
            for_vectors(last - first, [&](i64 k, auto lanes) {
                const i64 i = first + k;
                V s = (each ? lanes.load(g.data + i) : splat(g.data[0])) / divisor.data[0];
                if (weight) s *= lanes.load(weight.data + i);
                const Element e{lanes.load(x.data + i), lanes.load(t.data + i),
                                v ? lanes.load(v.data + i) : splat(1), real(p), real(q)};
                lanes.store(dx.data + i, s * decltype(f)::slope(e, of));
            });
        });
    });
}

END_KERNELS
