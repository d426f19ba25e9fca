// Values from several places at once.
#pragma once
#include "kernel.h"

namespace ISA::REAL_NAME {
static inline V gathered(const real* p, M at) {
#if defined(__AVX512F__) && defined(REAL_f32)
    return (V)_mm512_i32gather_ps((__m512i)at, p, 4);
#elif defined(__AVX512F__)
    return (V)_mm512_i64gather_pd((__m512i)at, p, 8);
#elif defined(__AVX2__) && defined(REAL_f32)
    return (V)_mm256_i32gather_ps(p, (__m256i)at, 4);
#elif defined(__AVX2__)
    return (V)_mm256_i64gather_pd(p, (__m256i)at, 8);
#else
    V v;
    for (int i = 0; i < LANES; ++i) v[i] = p[at[i]];
    return v;
#endif
}
}  // namespace ISA::REAL_NAME
