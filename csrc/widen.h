// Numbers in fewer bits, widened to a vector: int8, and bfloat16 in uint16, the upper half of a float.
#pragma once
#include <cstdint>
#include "simd.h"

namespace ISA::REAL_NAME {
using s8 = std::int8_t;
using u16 = std::uint16_t;

static inline V widen(const s8* p) {
#if defined(REAL_f32) && defined(__AVX512F__)
    return (V)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
#elif defined(REAL_f32) && defined(__AVX2__)
    return (V)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
#elif defined(REAL_f32) && defined(__SSE4_1__)
    return (V)_mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_loadu_si32(p)));
#else
    V v;
    for (int i = 0; i < LANES; ++i) v[i] = p[i];
    return v;
#endif
}

// The first `count` numbers, then zeros
static inline V widen(const u16* p, int count) {
    V v{};
    for (int i = 0; i < count; ++i) {
        const std::uint32_t bits = (std::uint32_t)p[i] << 16;
        float value;
        std::memcpy(&value, &bits, sizeof(value));
        v[i] = value;
    }
    return v;
}

static inline V widen(const u16* p) {
#if defined(REAL_f32) && defined(__AVX512F__)
    return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16);
#elif defined(REAL_f32) && defined(__AVX2__)
    return (V)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16);
#elif defined(REAL_f32) && defined(__SSE4_1__)
    return (V)_mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i*)p)), 16);
#else
    return widen(p, LANES);
#endif
}

// What kernels of numbers as they are and of stored ones both call: a vector of either
template <class Lanes> static inline V loaded(Lanes lanes, const real* p) { return lanes.load(p); }
static inline V loaded(Whole, const u16* p) { return widen(p); }
static inline V loaded(Tail lanes, const u16* p) { return widen(p, lanes.count); }
}  // namespace ISA::REAL_NAME
