// The types of a kernel. A .cu file is compiled once per element type: `real` is what lies in
//   memory, `acc` what is computed with.
//   -DREAL_f32  float, float     -DREAL_f64  double, double     -DREAL_f16  __half, float
//                                -DREAL_bf16  __nv_bfloat16, float
#pragma once
#if defined(REAL_f16)
#include <cuda_fp16.h>
typedef __half real;
typedef float acc;
#elif defined(REAL_bf16)
#include <cuda_bf16.h>
typedef __nv_bfloat16 real;
typedef float acc;
#elif defined(REAL_f64)
typedef double real;
typedef double acc;
#else
typedef float real;
typedef float acc;
#endif
typedef long long i64;

#if defined(REAL_f64)
__device__ constexpr acc EPSILON = 2.220446049250313e-16;
#else
__device__ constexpr acc EPSILON = 1.1920929e-07f;
#endif
__device__ __forceinline__ acc infinity() {   // NVRTC has no INFINITY
#if defined(REAL_f64)
    return __longlong_as_double(0x7ff0000000000000LL);
#else
    return __int_as_float(0x7f800000);
#endif
}
__device__ __forceinline__ acc not_a_number() {
#if defined(REAL_f64)
    return __longlong_as_double(0x7ff8000000000000LL);
#else
    return __int_as_float(0x7fffffff);
#endif
}

__device__ __forceinline__ acc value(real x) { return (acc)x; }
__device__ __forceinline__ real rounded(acc x) { return (real)x; }

// Larger or smaller of two, NaN if either is: what torch's maximum and pooling do. fmax would drop the NaN.
__device__ __forceinline__ acc larger(acc a, acc b) { return a > b || a != a ? a : b; }
__device__ __forceinline__ acc smaller(acc a, acc b) { return a < b || a != a ? a : b; }

// N neighbours moved as one access of up to 16 bytes; p must be aligned to N * sizeof(real).
template <class T, int N> struct alignas(sizeof(T) * N) Packet { T v[N]; };
constexpr int LANES = 16 / sizeof(real);
typedef Packet<real, LANES> Pack;
