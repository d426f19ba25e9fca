// 1 + erf(x / sqrt(2)), of which GELU is x / 2 times as much. float32: erf(z) = z P(z^2 / 8 - 1) for
// |z| <= 4, one polynomial without e^x or a division (a Chebyshev fit of degree 16, 2e-7 off), and
// exactly 1 from there on, as P(1) comes out as 1/4.
#pragma once
#include "simd_math.h"

namespace ISA::REAL_NAME {
constexpr real INV_SQRT_2 = 0.70710678118654752440;

#if defined(REAL_f32)
constexpr int  GELU_TOGETHER = VECTOR_BYTES == 64 ? 4 : 2;   // vectors; what the registers hold
constexpr real ERF_UP_TO_4[] = {0.353531003f,   -0.1765761673f,  0.131675005f,    -0.1077133641f,
                                0.09021203965f, -0.07468753308f, 0.05985599384f,  -0.04601432011f,
                                0.03321700171f, -0.02166253142f, 0.01390814595f,  -0.01008590683f,
                                0.005577363539f, -0.001076942077f, 0.0006166107487f, -0.00137281511f,
                                0.0005964250886f};
// Of N vectors side by side: a step waits for the one before it, longer than a core looks ahead
template <int N> static inline void one_and_erf(V (&x)[N]) {
    V t[N], p[N];
    #pragma GCC unroll 4
    for (int k = 0; k < N; ++k) {
        x[k] = vmax(splat(-4), vmin(splat(4), x[k] * INV_SQRT_2));   // the order of operands keeps NaN
        t[k] = x[k] * x[k] * real(0.125) - 1;
        p[k] = splat(ERF_UP_TO_4[16]);
    }
    #pragma GCC unroll 16
    for (int i = 15; i >= 0; --i)
        #pragma GCC unroll 4
        for (int k = 0; k < N; ++k) p[k] = p[k] * t[k] + ERF_UP_TO_4[i];
    #pragma GCC unroll 4
    for (int k = 0; k < N; ++k) x[k] = 1 + x[k] * p[k];
}
#else
constexpr int GELU_TOGETHER = 1;
template <int N> static inline void one_and_erf(V (&x)[N]) {
    for (int k = 0; k < N; ++k) x[k] = 1 + verf(x[k] * INV_SQRT_2);
}
#endif
static inline V one_and_erf(V x) {
    V one[1] = {x};
    one_and_erf(one);
    return one[0];
}
}  // namespace ISA::REAL_NAME
