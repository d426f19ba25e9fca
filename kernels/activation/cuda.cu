// Activation functions y = f(x), and their gradients dx = g f'(x): elementwise/map.cuh with a
// functor for each. What lies on which side of a bend, and where NaN goes, is as in cpu.cpp. Values
// are computed in float where they are stored in less.
#include "elementwise/broadcast.cuh"

__device__ constexpr acc INV_SQRT_2 = 0.70710678118654752440, INV_SQRT_2PI = 0.39894228040143267794;
__device__ constexpr acc GELU_A = 0.79788456080286535588, GELU_B = 0.044715;   // sqrt(2 / pi)
__device__ constexpr acc LECUN_A = 1.7159, LECUN_S = 2. / 3;

// keeps NaN
__device__ __forceinline__ acc clamped(acc x, acc low, acc high) { return smaller(larger(x, low), high); }
__device__ __forceinline__ acc logistic(acc x) { return 1 / (1 + exp(-x)); }

// Slope times g
template <class F> struct Chain : F {
    __device__ Chain(F f = F()) : F(f) {}
    __device__ acc operator()(acc g, acc x) const { return g * F::slope(x); }
};
// g where x is in reach, else 0
template <class F> struct Gate : F {
    __device__ Gate(F f = F()) : F(f) {}
    __device__ acc operator()(acc g, acc x) const { return F::open(x) ? g : acc(0); }
};

// Each function, and behind it its two kernels.
extern "C" {
struct Relu {
    __device__ acc operator()(acc x) const { return x <= 0 ? acc(0) : x; }
    __device__ bool open(acc x) const { return !(x <= 0); }
};
__global__ void __launch_bounds__(256) map_relu(const real* x, real* y, i64 n) { map(x, y, n, Relu()); }
__global__ void __launch_bounds__(256) map_relu_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Gate<Relu>());
}

struct Hardtanh {
    acc low, high;
    __device__ acc operator()(acc x) const { return clamped(x, low, high); }
    __device__ bool open(acc x) const { return !(x <= low || x >= high); }
};
__global__ void __launch_bounds__(256) map_hardtanh(const real* x, acc low, acc high, real* y, i64 n) {
    map(x, y, n, Hardtanh{low, high});
}
__global__ void __launch_bounds__(256)
    map_hardtanh_backward(const real* g, const real* x, acc low, acc high, real* dx, i64 n) {
    map(g, x, dx, n, Gate<Hardtanh>(Hardtanh{low, high}));
}

struct Threshold {
    acc at, below;
    __device__ acc operator()(acc x) const { return x <= at ? below : x; }
    __device__ bool open(acc x) const { return !(x <= at); }
};
__global__ void __launch_bounds__(256) map_threshold(const real* x, acc at, acc below, real* y, i64 n) {
    map(x, y, n, Threshold{at, below});
}
__global__ void __launch_bounds__(256)
    map_threshold_backward(const real* g, const real* x, acc at, acc below, real* dx, i64 n) {
    map(g, x, dx, n, Gate<Threshold>(Threshold{at, below}));
}

struct Shrink {
    acc at, bias;
    __device__ acc operator()(acc x) const { return fabs(x) <= at ? acc(0) : x - copysign(bias, x); }
    __device__ bool open(acc x) const { return !(fabs(x) <= at); }
};
__global__ void __launch_bounds__(256) map_shrink(const real* x, acc at, acc bias, real* y, i64 n) {
    map(x, y, n, Shrink{at, bias});
}
__global__ void __launch_bounds__(256)
    map_shrink_backward(const real* g, const real* x, acc at, acc bias, real* dx, i64 n) {
    map(g, x, dx, n, Gate<Shrink>(Shrink{at, bias}));
}

struct LeakyRelu {
    acc negative;
    __device__ acc operator()(acc x) const { return x > 0 ? x : x * negative; }
    __device__ acc slope(acc x) const { return x > 0 ? acc(1) : negative; }
};
__global__ void __launch_bounds__(256) map_leaky_relu(const real* x, acc negative, real* y, i64 n) {
    map(x, y, n, LeakyRelu{negative});
}
__global__ void __launch_bounds__(256)
    map_leaky_relu_backward(const real* g, const real* x, acc negative, real* dx, i64 n) {
    map(g, x, dx, n, Chain<LeakyRelu>(LeakyRelu{negative}));
}

struct Elu {   // elu, celu and selu: scale * (x, or alpha (e^(inner x) - 1) where x <= 0)
    acc alpha, scale, inner;
    __device__ acc operator()(acc x) const { return x > 0 ? x * scale : alpha * scale * expm1(x * inner); }
    __device__ acc slope(acc x) const { return x > 0 ? scale : alpha * scale * inner * exp(x * inner); }
};
__global__ void __launch_bounds__(256)
    map_elu(const real* x, acc alpha, acc scale, acc inner, real* y, i64 n) {
    map(x, y, n, Elu{alpha, scale, inner});
}
__global__ void __launch_bounds__(256)
    map_elu_backward(const real* g, const real* x, acc alpha, acc scale, acc inner, real* dx, i64 n) {
    map(g, x, dx, n, Chain<Elu>(Elu{alpha, scale, inner}));
}

struct Gelu {
    __device__ acc operator()(acc x) const { return acc(0.5) * x * (1 + erf(x * INV_SQRT_2)); }
    __device__ acc slope(acc x) const {
        return acc(0.5) * (1 + erf(x * INV_SQRT_2)) + x * INV_SQRT_2PI * exp(acc(-0.5) * x * x);
    }
};
__global__ void __launch_bounds__(256) map_gelu(const real* x, real* y, i64 n) { map(x, y, n, Gelu()); }
__global__ void __launch_bounds__(256) map_gelu_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Chain<Gelu>());
}

struct GeluTanh {
    static __device__ acc inside(acc x) { return tanh(GELU_A * (x + GELU_B * x * x * x)); }
    __device__ acc operator()(acc x) const { return acc(0.5) * x * (1 + inside(x)); }
    __device__ acc slope(acc x) const {
        const acc t = inside(x);
        return acc(0.5) * (1 + t) + acc(0.5) * x * (1 - t * t) * (GELU_A * (1 + 3 * GELU_B * x * x));
    }
};
__global__ void __launch_bounds__(256) map_gelu_tanh(const real* x, real* y, i64 n) {
    map(x, y, n, GeluTanh());
}
__global__ void __launch_bounds__(256) map_gelu_tanh_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Chain<GeluTanh>());
}

struct Silu {
    __device__ acc operator()(acc x) const { return x * logistic(x); }
    __device__ acc slope(acc x) const {
        const acc s = logistic(x);
        return s * (1 + x * (1 - s));
    }
};
__global__ void __launch_bounds__(256) map_silu(const real* x, real* y, i64 n) { map(x, y, n, Silu()); }
__global__ void __launch_bounds__(256) map_silu_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Chain<Silu>());
}

struct Mish {   // tanh(log(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2); it is 1 from x = 30 on
    static __device__ acc gate(acc x) {
        const acc e = exp(smaller(x, 30)), n = e * (e + 2);
        return n / (n + 2);
    }
    __device__ acc operator()(acc x) const { return x * gate(x); }
    __device__ acc slope(acc x) const {
        const acc t = gate(x);
        return t + x * logistic(x) * ((1 - t) * (1 + t));
    }
};
__global__ void __launch_bounds__(256) map_mish(const real* x, real* y, i64 n) { map(x, y, n, Mish()); }
__global__ void __launch_bounds__(256) map_mish_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Chain<Mish>());
}

struct Hardswish {
    __device__ acc operator()(acc x) const { return x * clamped(x + 3, 0, 6) / 6; }
    __device__ acc slope(acc x) const { return x <= -3 ? acc(0) : x >= 3 ? acc(1) : x / 3 + acc(0.5); }
};
__global__ void __launch_bounds__(256) map_hardswish(const real* x, real* y, i64 n) {
    map(x, y, n, Hardswish());
}
__global__ void __launch_bounds__(256) map_hardswish_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Chain<Hardswish>());
}

struct Hardsigmoid {
    __device__ acc operator()(acc x) const { return clamped(x + 3, 0, 6) / 6; }
    __device__ acc slope(acc x) const { return x > -3 && x < 3 ? acc(1. / 6) : acc(0); }
};
__global__ void __launch_bounds__(256) map_hardsigmoid(const real* x, real* y, i64 n) {
    map(x, y, n, Hardsigmoid());
}
__global__ void __launch_bounds__(256)
    map_hardsigmoid_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Chain<Hardsigmoid>());
}

struct ScaledTanh {
    __device__ acc operator()(acc x) const { return LECUN_A * tanh(LECUN_S * x); }
    __device__ acc slope(acc x) const {
        const acc t = tanh(LECUN_S * x);
        return LECUN_A * LECUN_S * (1 - t * t);
    }
};
__global__ void __launch_bounds__(256) map_scaled_tanh(const real* x, real* y, i64 n) {
    map(x, y, n, ScaledTanh());
}
__global__ void __launch_bounds__(256)
    map_scaled_tanh_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Chain<ScaledTanh>());
}

struct Logsigmoid {
    __device__ acc operator()(acc x) const { return smaller(x, 0) - log1p(exp(-fabs(x))); }
    __device__ acc slope(acc x) const { return logistic(-x); }
};
__global__ void __launch_bounds__(256) map_logsigmoid(const real* x, real* y, i64 n) {
    map(x, y, n, Logsigmoid());
}
__global__ void __launch_bounds__(256)
    map_logsigmoid_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Chain<Logsigmoid>());
}

struct Softplus {
    acc beta, threshold;
    __device__ acc operator()(acc x) const {
        const acc z = x * beta;
        return z > threshold ? x : (larger(z, 0) + log1p(exp(-fabs(z)))) * (1 / beta);
    }
    __device__ acc slope(acc x) const {
        const acc z = x * beta;
        return z > threshold ? acc(1) : logistic(z);
    }
};
__global__ void __launch_bounds__(256) map_softplus(const real* x, acc beta, acc threshold, real* y, i64 n) {
    map(x, y, n, Softplus{beta, threshold});
}
__global__ void __launch_bounds__(256)
    map_softplus_backward(const real* g, const real* x, acc beta, acc threshold, real* dx, i64 n) {
    map(g, x, dx, n, Chain<Softplus>(Softplus{beta, threshold}));
}

struct Softsign {
    __device__ acc operator()(acc x) const { return x / (1 + fabs(x)); }
    __device__ acc slope(acc x) const {
        const acc d = 1 + fabs(x);
        return 1 / (d * d);
    }
};
__global__ void __launch_bounds__(256) map_softsign(const real* x, real* y, i64 n) {
    map(x, y, n, Softsign());
}
__global__ void __launch_bounds__(256) map_softsign_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, Chain<Softsign>());
}

// prelu: the weight broadcasts along x; its gradient's terms have the shape of x
struct Prelu {
    __device__ acc operator()(acc x, acc weight) const { return x > 0 ? x : x * weight; }
};
__global__ void __launch_bounds__(256)
    broadcast_prelu(const real* x, const real* weight, const __grid_constant__ Dims shape,
                    const __grid_constant__ Dims magic, const __grid_constant__ Dims sx,
                    const __grid_constant__ Dims sw, int lanes, int total, real* y) {
    two(x, weight, shape, magic, sx, sw, lanes, total, y, Prelu());
}

struct PreluBackward {
    __device__ acc operator()(acc g, acc x, acc weight) const { return x > 0 ? g : g * weight; }
};
__global__ void __launch_bounds__(256)
    broadcast_prelu_backward(const real* g, const real* x, const real* weight,
                             const __grid_constant__ Dims shape, const __grid_constant__ Dims magic,
                             const __grid_constant__ Dims sg, const __grid_constant__ Dims sx,
                             const __grid_constant__ Dims sw, int lanes, int total, real* dx) {
    three(g, x, weight, shape, magic, sg, sx, sw, lanes, total, dx, PreluBackward());
}

struct PreluWeightTerms {
    __device__ acc operator()(acc g, acc x) const { return g * (x > 0 ? acc(0) : x); }
};
__global__ void __launch_bounds__(256)
    map_prelu_weight_terms(const real* g, const real* x, real* terms, i64 n) {
    map(g, x, terms, n, PreluWeightTerms());
}

// x is (outer, 2, half); a thread takes a value and its gate
__global__ void __launch_bounds__(256) gate_glu(const real* x, i64 half, real* y, i64 n) {
    for (GRID_STRIDE(i, n)) {
        const i64 at = i + i / half * half;
        y[i] = real(acc(x[at]) * logistic(acc(x[at + half])));
    }
}
__global__ void __launch_bounds__(256)
    gate_glu_backward(const real* g, const real* x, i64 half, real* dx, i64 n) {
    for (GRID_STRIDE(i, n)) {
        const i64 at = i + i / half * half;
        const acc open = logistic(acc(x[at + half])), passed = acc(g[i]) * open;
        dx[at + half] = real(passed * acc(x[at]) * (1 - open));
        dx[at] = real(passed);
    }
}
}
