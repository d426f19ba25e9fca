// CUDA's qualifiers, vector types and built-in variables.
#pragma once
#define __global__ __attribute__((used))
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __shared__ static   // blocks run one after the other; `extern __shared__` the driver rewrites
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __attribute__((aligned(n)))

#define CUEMU_API extern "C" __attribute__((visibility("default")))
#define CUEMU_NOSAN __attribute__((no_sanitize("thread"), no_sanitize("undefined")))   // models of instructions: not accesses of the kernel's

// T1 to T4 of a scalar type, with the alignment of two and of four of them: loads of that size
// must be aligned to it
#define CUEMU_VECTORS(SCALAR, T, ONE, TWO, FOUR) \
    struct alignas(ONE) T##1 { SCALAR x; }; \
    struct alignas(TWO) T##2 { SCALAR x, y; }; \
    struct alignas(ONE) T##3 { SCALAR x, y, z; }; \
    struct alignas(FOUR) T##4 { SCALAR x, y, z, w; }; \
    static inline T##1 make_##T##1(SCALAR x) { return {x}; } \
    static inline T##2 make_##T##2(SCALAR x, SCALAR y) { return {x, y}; } \
    static inline T##3 make_##T##3(SCALAR x, SCALAR y, SCALAR z) { return {x, y, z}; } \
    static inline T##4 make_##T##4(SCALAR x, SCALAR y, SCALAR z, SCALAR w) { return {x, y, z, w}; }
CUEMU_VECTORS(float, float, 4, 8, 16)
CUEMU_VECTORS(double, double, 8, 16, 16)
CUEMU_VECTORS(int, int, 4, 8, 16)
CUEMU_VECTORS(unsigned, uint, 4, 8, 16)
CUEMU_VECTORS(short, short, 2, 4, 8)
CUEMU_VECTORS(unsigned short, ushort, 2, 4, 8)
CUEMU_VECTORS(signed char, char, 1, 2, 4)
CUEMU_VECTORS(unsigned char, uchar, 1, 2, 4)
CUEMU_VECTORS(long long, longlong, 8, 16, 16)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

CUEMU_API uint3 threadIdx, blockIdx;
CUEMU_API dim3 blockDim, gridDim;
static constexpr int warpSize = 32;
