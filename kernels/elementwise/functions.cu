// Functions of one array, and their gradients dx = f(g, v) where v is the input or the result.
// Memory is the limit of them all.
#include "elementwise/map.cuh"

struct Neg { __device__ acc operator()(acc x) const { return -x; } };
struct Abs { __device__ acc operator()(acc x) const { return fabs(x); } };
struct Square { __device__ acc operator()(acc x) const { return x * x; } };
struct Sqrt { __device__ acc operator()(acc x) const { return sqrt(x); } };
struct Rsqrt { __device__ acc operator()(acc x) const { return 1 / sqrt(x); } };
struct Reciprocal { __device__ acc operator()(acc x) const { return 1 / x; } };
struct Exp { __device__ acc operator()(acc x) const { return exp(x); } };
struct Expm1 { __device__ acc operator()(acc x) const { return expm1(x); } };
struct Log { __device__ acc operator()(acc x) const { return log(x); } };
struct Log1p { __device__ acc operator()(acc x) const { return log1p(x); } };
struct Erf { __device__ acc operator()(acc x) const { return erf(x); } };
struct Tanh { __device__ acc operator()(acc x) const { return tanh(x); } };
struct Sigmoid { __device__ acc operator()(acc x) const { return 1 / (1 + exp(-x)); } };
struct Clamp {   // keeps NaN
    acc low, high;
    __device__ acc operator()(acc x) const { return smaller(larger(x, low), high); }
};

struct TanhBackward { __device__ acc operator()(acc g, acc y) const { return g * (1 - y * y); } };
struct SigmoidBackward { __device__ acc operator()(acc g, acc y) const { return g * (y * (1 - y)); } };
// 0 at 0, NaN at NaN
struct AbsBackward {
    __device__ acc operator()(acc g, acc x) const { return x > 0 ? g : x < 0 ? -g : g * x; }
};
struct SqrtBackward { __device__ acc operator()(acc g, acc y) const { return g / (2 * y); } };
struct RsqrtBackward {
    __device__ acc operator()(acc g, acc y) const { return acc(-0.5) * g * (y * y * y); }
};
struct ReciprocalBackward { __device__ acc operator()(acc g, acc y) const { return -g * (y * y); } };
// 2 / sqrt(pi)
struct ErfBackward {
    __device__ acc operator()(acc g, acc x) const { return g * acc(1.12837916709551257390) * exp(-(x * x)); }
};
struct ClampBackward {
    acc low, high;
    __device__ acc operator()(acc g, acc x) const { return x >= low && x <= high ? g : acc(0); }
};

extern "C" {
__global__ void __launch_bounds__(256) map_neg(const real* x, real* y, i64 n) { map(x, y, n, Neg()); }
__global__ void __launch_bounds__(256) map_abs(const real* x, real* y, i64 n) { map(x, y, n, Abs()); }
__global__ void __launch_bounds__(256) map_square(const real* x, real* y, i64 n) { map(x, y, n, Square()); }
__global__ void __launch_bounds__(256, 4) map_sqrt(const real* x, real* y, i64 n) { map(x, y, n, Sqrt()); }
__global__ void __launch_bounds__(256) map_rsqrt(const real* x, real* y, i64 n) { map(x, y, n, Rsqrt()); }
__global__ void __launch_bounds__(256) map_reciprocal(const real* x, real* y, i64 n) {
    map(x, y, n, Reciprocal());
}
__global__ void __launch_bounds__(256) map_exp(const real* x, real* y, i64 n) { map(x, y, n, Exp()); }
__global__ void __launch_bounds__(256) map_expm1(const real* x, real* y, i64 n) { map(x, y, n, Expm1()); }
__global__ void __launch_bounds__(256) map_log(const real* x, real* y, i64 n) { map(x, y, n, Log()); }
__global__ void __launch_bounds__(256) map_log1p(const real* x, real* y, i64 n) { map(x, y, n, Log1p()); }
__global__ void __launch_bounds__(256) map_erf(const real* x, real* y, i64 n) { map(x, y, n, Erf()); }
__global__ void __launch_bounds__(256) map_tanh(const real* x, real* y, i64 n) { map(x, y, n, Tanh()); }
__global__ void __launch_bounds__(256) map_sigmoid(const real* x, real* y, i64 n) { map(x, y, n, Sigmoid()); }
__global__ void __launch_bounds__(256) map_clamp(const real* x, acc low, acc high, real* y, i64 n) {
    map(x, y, n, Clamp{low, high});
}

__global__ void __launch_bounds__(256) map_tanh_backward(const real* g, const real* y, real* dx, i64 n) {
    map(g, y, dx, n, TanhBackward());
}
__global__ void __launch_bounds__(256) map_sigmoid_backward(const real* g, const real* y, real* dx, i64 n) {
    map(g, y, dx, n, SigmoidBackward());
}
__global__ void __launch_bounds__(256) map_abs_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, AbsBackward());
}
__global__ void __launch_bounds__(256) map_sqrt_backward(const real* g, const real* y, real* dx, i64 n) {
    map(g, y, dx, n, SqrtBackward());
}
__global__ void __launch_bounds__(256) map_rsqrt_backward(const real* g, const real* y, real* dx, i64 n) {
    map(g, y, dx, n, RsqrtBackward());
}
__global__ void __launch_bounds__(256)
    map_reciprocal_backward(const real* g, const real* y, real* dx, i64 n) {
    map(g, y, dx, n, ReciprocalBackward());
}
__global__ void __launch_bounds__(256, 4) map_erf_backward(const real* g, const real* x, real* dx, i64 n) {
    map(g, x, dx, n, ErfBackward());
}
__global__ void __launch_bounds__(256)
    map_clamp_backward(const real* g, const real* x, acc low, acc high, real* dx, i64 n) {
    map(g, x, dx, n, ClampBackward{low, high});
}
}
