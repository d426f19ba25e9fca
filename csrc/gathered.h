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
// p[0], p[stride], ... as load_strided has them, `count` and zeros behind, by shuffles or a gather.
static inline V load_every(const real* p, i64 stride, int count) {
    if (stride <= 2 || stride > (1 << 24)) return load_strided(p, stride, count);
    if (stride == 4 && count == LANES && LANES > 3)
        return even_lanes(even_lanes(load(p), load(p + LANES)),
                          even_lanes(load(p + 2 * LANES), load(p + 3 * LANES, LANES - 3)));
    const M lane = lane_index(), last = M{} + (lane_int)(count - 1);
    return first(gathered(p, (lane < last ? lane : last) * (lane_int)stride), count);
}
}  // namespace ISA::REAL_NAME
