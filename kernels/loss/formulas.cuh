// The formulas of pointwise losses, and their slopes for argument `of`: 0 x, 1 t, 2 v.
#pragma once
#include "real.cuh"

struct Element { acc x, t, v, p, q; };   // v is 1 where the caller left it out

static __device__ __forceinline__ acc zero_max(acc x) { return x > 0 ? x : (x != x ? x : acc(0)); }
static __device__ __forceinline__ acc softplus(acc x) { return zero_max(x) + log1p(exp(-fabs(x))); }
static __device__ __forceinline__ acc sign(acc x) { return x > 0 ? acc(1) : x < 0 ? acc(-1) : x; }
static __device__ __forceinline__ acc sigmoid(acc x) {
    const acc e = exp(-fabs(x));
    return (x < 0 ? e : acc(1)) / (1 + e);
}

// A formula whose slope for t is minus that for x.
struct L1 {
    static __device__ __forceinline__ acc loss(const Element& e) { return fabs(e.x - e.t); }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        return of ? sign(e.t - e.x) : sign(e.x - e.t);
    }
};
struct Mse {
    static __device__ __forceinline__ acc loss(const Element& e) { return (e.x - e.t) * (e.x - e.t); }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        return 2 * (of ? e.t - e.x : e.x - e.t);
    }
};
struct SmoothL1 {   // p: beta > 0
    static __device__ __forceinline__ acc loss(const Element& e) {
        const acc a = fabs(e.x - e.t);
        return a < e.p ? a * a * (acc(0.5) / e.p) : a - e.p * acc(0.5);
    }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        const acc d = of ? e.t - e.x : e.x - e.t;
        return fabs(d) < e.p ? d / e.p : sign(d);
    }
};
struct Huber {   // p: delta > 0
    static __device__ __forceinline__ acc loss(const Element& e) {
        const acc a = fabs(e.x - e.t);
        return a < e.p ? a * a * acc(0.5) : e.p * (a - e.p * acc(0.5));
    }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        const acc d = of ? e.t - e.x : e.x - e.t;
        return fabs(d) < e.p ? d : e.p * sign(d);
    }
};
// x outside [0, 1] has no logarithm here: its loss is NaN, by which the caller knows.
struct Bce {
    static __device__ __forceinline__ acc bounded(acc log) { return larger(log, -100); }   // keeps NaN
    static __device__ __forceinline__ acc loss(const Element& e) {
        return (e.t - 1) * bounded(log1p(-e.x)) - e.t * bounded(log(e.x));
    }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        if (of) return bounded(log1p(-e.x)) - bounded(log(e.x));
        return (e.x - e.t) / larger((1 - e.x) * e.x, acc(1e-12));
    }
};
struct BceWithLogits {   // v: pos_weight
    static __device__ __forceinline__ acc loss(const Element& e) {
        return (1 - e.t) * e.x + ((e.v - 1) * e.t + 1) * softplus(-e.x);
    }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        if (of) return (e.v - 1) * softplus(-e.x) - e.x;
        return (1 - e.t) - ((e.v - 1) * e.t + 1) * sigmoid(-e.x);
    }
};
struct KlDiv {
    static __device__ __forceinline__ acc loss(const Element& e) {
        return (e.t == 0 ? acc(0) : e.t * log(e.t)) - e.t * e.x;
    }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        return of ? log(e.t) + 1 - e.x : -e.t;
    }
};
struct KlDivLog {
    static __device__ __forceinline__ acc loss(const Element& e) { return exp(e.t) * (e.t - e.x); }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        return of ? exp(e.t) * (e.t - e.x + 1) : -exp(e.t);
    }
};
// a q^gamma ce with ce = softplus(x) - t x, q = 1 - p_t the probability of the other class; p:
// alpha (< 0: none), q: gamma
struct Focal {
    static __device__ __forceinline__ acc power(acc base, acc exponent) {
        if (exponent == 0) return 1;
        if (exponent == 1) return base;
        return exponent == 2 ? base * base : pow(base, exponent);
    }
    static __device__ __forceinline__ acc balance(const Element& e) {
        return e.p < 0 ? acc(1) : e.p * e.t + (1 - e.p) * (1 - e.t);
    }
    static __device__ __forceinline__ acc other(const Element& e) {
        return sigmoid(e.x) * (1 - e.t) + sigmoid(-e.x) * e.t;
    }
    static __device__ __forceinline__ acc loss(const Element& e) {
        return balance(e) * power(other(e), e.q) * (softplus(e.x) - e.t * e.x);
    }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        const acc yes = sigmoid(e.x), no = sigmoid(-e.x), q = other(e), a = balance(e),
                  ce = softplus(e.x) - e.t * e.x;
        const acc whole = power(q, e.q), lower = e.q == 0 ? acc(0) : e.q * power(q, e.q - 1);
        if (!of) return a * ((yes - e.t) * whole + ce * lower * (1 - 2 * e.t) * yes * no);
        const acc of_balance = e.p < 0 ? acc(0) : 2 * e.p - 1;
        return of_balance * whole * ce + a * (lower * (no - yes) * ce - whole * e.x);
    }
};
// Stirling's t log t - t + log(2 pi t) / 2 for t > 1, where p is not 0
struct Stirling {
    static __device__ __forceinline__ acc loss(const Element& e) {
        return e.p == 0 || !(e.t > 1)
                   ? acc(0)
                   : e.t * log(e.t) - e.t + acc(0.5) * log(acc(6.283185307179586477) * e.t);
    }
    static __device__ __forceinline__ acc slope(const Element& e) {
        return e.p == 0 || !(e.t > 1) ? acc(0) : log(e.t) + acc(0.5) / e.t;
    }
};
struct PoissonLog {
    static __device__ __forceinline__ acc loss(const Element& e) {
        return exp(e.x) - e.t * e.x + Stirling::loss(e);
    }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        return of ? Stirling::slope(e) - e.x : exp(e.x) - e.t;
    }
};
struct Poisson {   // q: eps
    static __device__ __forceinline__ acc loss(const Element& e) {
        return e.x - e.t * log(e.x + e.q) + Stirling::loss(e);
    }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        return of ? Stirling::slope(e) - log(e.x + e.q) : 1 - e.t / (e.x + e.q);
    }
};
struct Gaussian {   // v: variance; a negative one gives NaN. p: the least variance, q: the constant
    static __device__ __forceinline__ acc variance(const Element& e) {
        return e.v < 0 ? not_a_number() : larger(e.v, e.p);
    }
    static __device__ __forceinline__ acc loss(const Element& e) {
        const acc s = variance(e), d = e.x - e.t;
        return acc(0.5) * (log(s) + d * d / s) + e.q;
    }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        const acc s = variance(e), d = e.x - e.t;
        return of == 0 ? d / s : of == 1 ? -d / s : acc(0.5) * (s - d * d) / (s * s);
    }
};
struct SoftMargin {
    static __device__ __forceinline__ acc loss(const Element& e) { return softplus(-e.t * e.x); }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        return (of ? -e.x : -e.t) * sigmoid(-e.t * e.x);
    }
};
struct HingeEmbedding {   // p: margin; t is 1 or -1
    static __device__ __forceinline__ acc loss(const Element& e) {
        return (e.t != 1 ? zero_max(e.p - e.x) : acc(0)) + (e.t != -1 ? e.x : acc(0));
    }
    static __device__ __forceinline__ acc slope(const Element& e, int) {
        return (e.t != 1 && e.x <= e.p ? acc(-1) : acc(0)) + (e.t != -1 ? acc(1) : acc(0));
    }
};
struct MarginRanking {   // v: the second input, p: margin
    static __device__ __forceinline__ acc loss(const Element& e) { return zero_max(e.p - e.t * (e.x - e.v)); }
    static __device__ __forceinline__ acc slope(const Element& e, int of) {
        return e.p - e.t * (e.x - e.v) >= 0 ? (of == 0 ? -e.t : of == 1 ? e.v - e.x : e.t) : acc(0);
    }
};
