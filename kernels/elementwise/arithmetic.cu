// Arithmetic with broadcasting, and its gradients: what broadcast.cuh does with functions
// of two or three values. Memory is the limit of all but pow, whose exponents 1, 2, 3 and
// -1 need no logarithm.
#include "elementwise/broadcast.cuh"

struct Add {
    acc alpha;
    __device__ acc operator()(acc a, acc b) const { return a + alpha * b; }
};
struct Mul {
    __device__ acc operator()(acc a, acc b) const { return a * b; }
};
struct Div {
    __device__ acc operator()(acc a, acc b) const { return a / b; }
};
struct Maximum {
    __device__ acc operator()(acc a, acc b) const { return larger(a, b); }
};
struct Minimum {
    __device__ acc operator()(acc a, acc b) const { return smaller(a, b); }
};
// what of g goes to a, where y = maximum(a, b): all, half of it at a tie, or nothing
struct MaximumBackward {
    __device__ acc operator()(acc g, acc a, acc b) const {
        return a > b ? g : a == b ? g * acc(0.5) : acc(0);
    }
};
struct Where {   // condition: 0 is false, anything else true
    __device__ acc operator()(acc condition, acc a, acc b) const { return condition != 0 ? a : b; }
};
struct Expand {
    acc scale;
    __device__ acc operator()(acc x) const { return x * scale; }
};

struct Pow {
    __device__ acc operator()(acc a, acc b) const {
        return b == 2 ? a * a : b == 1 ? a : b == 3 ? a * a * a : b == -1 ? 1 / a : pow(a, b);
    }
};
struct PowBaseBackward {
    __device__ acc operator()(acc g, acc a, acc b) const {
        if (b == 2) return 2 * g * a;
        if (b == 3) return 3 * g * (a * a);
        return b == 0 ? acc(0) : g * (b * pow(a, b - 1));
    }
};
struct PowExponentBackward {   // y = a^b; 0^b has no slope in b unless it is infinite
    __device__ acc operator()(acc g, acc a, acc y) const {
        return a == 0 && y < infinity() ? acc(0) : g * (y * log(a));
    }
};

extern "C" {
__global__ void __launch_bounds__(256)
    broadcast_expand(const real* x, const __grid_constant__ Dims shape, const __grid_constant__ Dims magic,
                     const __grid_constant__ Dims sx, int lanes, int total, acc scale, real* y) {
    one(x, shape, magic, sx, lanes, total, y, Expand{scale});
}
__global__ void __launch_bounds__(256)
    broadcast_add(const real* a, const real* b, const __grid_constant__ Dims shape,
                  const __grid_constant__ Dims magic, const __grid_constant__ Dims sa,
                  const __grid_constant__ Dims sb, int lanes, int total, acc alpha, real* y) {
    two(a, b, shape, magic, sa, sb, lanes, total, y, Add{alpha});
}
__global__ void __launch_bounds__(256)
    broadcast_mul(const real* a, const real* b, const __grid_constant__ Dims shape,
                  const __grid_constant__ Dims magic, const __grid_constant__ Dims sa,
                  const __grid_constant__ Dims sb, int lanes, int total, real* y) {
    two(a, b, shape, magic, sa, sb, lanes, total, y, Mul());
}
__global__ void __launch_bounds__(256)
    broadcast_div(const real* a, const real* b, const __grid_constant__ Dims shape,
                  const __grid_constant__ Dims magic, const __grid_constant__ Dims sa,
                  const __grid_constant__ Dims sb, int lanes, int total, real* y) {
    two(a, b, shape, magic, sa, sb, lanes, total, y, Div());
}
__global__ void __launch_bounds__(256)
    broadcast_pow(const real* a, const real* b, const __grid_constant__ Dims shape,
                  const __grid_constant__ Dims magic, const __grid_constant__ Dims sa,
                  const __grid_constant__ Dims sb, int lanes, int total, real* y) {
    two(a, b, shape, magic, sa, sb, lanes, total, y, Pow());
}
__global__ void __launch_bounds__(256)
    broadcast_maximum(const real* a, const real* b, const __grid_constant__ Dims shape,
                      const __grid_constant__ Dims magic, const __grid_constant__ Dims sa,
                      const __grid_constant__ Dims sb, int lanes, int total, real* y) {
    two(a, b, shape, magic, sa, sb, lanes, total, y, Maximum());
}
__global__ void __launch_bounds__(256)
    broadcast_minimum(const real* a, const real* b, const __grid_constant__ Dims shape,
                      const __grid_constant__ Dims magic, const __grid_constant__ Dims sa,
                      const __grid_constant__ Dims sb, int lanes, int total, real* y) {
    two(a, b, shape, magic, sa, sb, lanes, total, y, Minimum());
}
__global__ void __launch_bounds__(256)
    broadcast_maximum_backward(const real* g, const real* a, const real* b,
                               const __grid_constant__ Dims shape, const __grid_constant__ Dims magic,
                               const __grid_constant__ Dims sg, const __grid_constant__ Dims sa,
                               const __grid_constant__ Dims sb, int lanes, int total, real* da) {
    three(g, a, b, shape, magic, sg, sa, sb, lanes, total, da, MaximumBackward());
}
__global__ void __launch_bounds__(256)
    broadcast_pow_base_backward(const real* g, const real* a, const real* b,
                                const __grid_constant__ Dims shape, const __grid_constant__ Dims magic,
                                const __grid_constant__ Dims sg, const __grid_constant__ Dims sa,
                                const __grid_constant__ Dims sb, int lanes, int total, real* da) {
    three(g, a, b, shape, magic, sg, sa, sb, lanes, total, da, PowBaseBackward());
}
__global__ void __launch_bounds__(256)
    broadcast_pow_exponent_backward(const real* g, const real* a, const real* y,
                                    const __grid_constant__ Dims shape, const __grid_constant__ Dims magic,
                                    const __grid_constant__ Dims sg, const __grid_constant__ Dims sa,
                                    const __grid_constant__ Dims sy, int lanes, int total, real* db) {
    three(g, a, y, shape, magic, sg, sa, sy, lanes, total, db, PowExponentBackward());
}
__global__ void __launch_bounds__(256)
    broadcast_where(const real* condition, const real* a, const real* b, const __grid_constant__ Dims shape,
                    const __grid_constant__ Dims magic, const __grid_constant__ Dims sc,
                    const __grid_constant__ Dims sa, const __grid_constant__ Dims sb, int lanes, int total,
                    real* y) {
    three(condition, a, b, shape, magic, sc, sa, sb, lanes, total, y, Where());
}
}
