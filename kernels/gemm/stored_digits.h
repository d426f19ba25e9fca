// Rows of floats times int8 weights by products of bytes, with AVX-512 VNNI: a quarter of the time of
// widening the weights, so that reading them is what takes time.
//
// A row is made fixed point, x = step (q - 2^23) with q of 24 bits and step its largest value over
// 2^23 - 1, and taken apart into three digits of 8 bits: x off by at most 2^-24 of the row's largest, as
// float32's own rounding is. Weights lie as (features, 16) in a block, so four features of it are 64
// bytes, which one permutation turns to four features for each filter. Sums of up to 65,000 products
// of digits and weights are exact in int32; the digits' sums meet in float32.
#pragma once
#include "kernel.h"

BEGIN_KERNELS
namespace {
constexpr i64 MOST_DIGITS = 65000;   // features whose sums are exact
constexpr int FEATURES = 4;          // of one instruction

struct Digits {
    std::uint8_t* planes;   // of each row three, the lowest digit first, each of `width`, zero behind the last feature
    real* step;             // of each row; 0: its values are not finite, or too small
    i64 width;
    const std::uint8_t* row(i64 r) const { return planes + r * 3 * width; }
};

#if defined(__AVX512F__) && defined(REAL_f32)
bool by_digits(i64 features) {
    static const bool able = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
    return able && features <= MOST_DIGITS;
}

void take_apart(const real* x, i64 features, const Digits& to, i64 r) {
    constexpr real LARGEST = (1 << 23) - 1;
    V top{}, wrong{};
    for_vectors(features, [&](i64 i, auto lanes) {
        const V v = lanes.load(x + i);
        top = vmax(vabs(v), top);
        wrong += v * 0;   // NaN, unless all are finite
    });
    real most = 0;
    for (int i = 0; i < LANES; ++i) most = most < top[i] ? top[i] : most;
    std::uint8_t* const plane = to.planes + r * 3 * to.width;
    std::memset(plane, 0, 3 * to.width);
    const bool finite = hsum(wrong) == 0;
    to.step[r] = !finite ? 0 : most == 0 ? 1 : most < 1e-30f ? 0 : most / LARGEST;
    if (to.step[r] == 0) return;
    const real factor = most == 0 ? 0 : LARGEST / most;
    for_vectors(features, [&](i64 i, auto lanes) {
        const V v = vmin(splat(LARGEST), vmax(lanes.load(x + i) * factor, splat(-LARGEST)));
        const __m512i q = _mm512_add_epi32(_mm512_cvtps_epi32((__m512)v), _mm512_set1_epi32(1 << 23));
        const __mmask16 live = lanes_mask(lanes.count);
        _mm512_mask_cvtepi32_storeu_epi8(plane + i, live, q);
        _mm512_mask_cvtepi32_storeu_epi8(plane + to.width + i, live, _mm512_srli_epi32(q, 8));
        _mm512_mask_cvtepi32_storeu_epi8(plane + 2 * to.width + i, live, _mm512_srli_epi32(q, 16));
    });
}

struct Turn {
    alignas(64) std::uint8_t at[64];
    constexpr Turn() : at() {
        for (int filter = 0; filter < 16; ++filter)
            for (int j = 0; j < FEATURES; ++j) at[filter * FEATURES + j] = (std::uint8_t)(j * 16 + filter);
    }
};
constexpr Turn TURN;

// sums (P, 16): of rows r .. r + P - 1 and the block w. A block at a time, so that memory is read from
// one end to the other: of four at a time it came at two thirds of the speed.
template <int P>
[[gnu::target("avx512vnni,avx512vbmi")]] void digit_sums(const Digits& x, i64 r, const std::int8_t* w, i64 features,
                                                         real* sums) {
    const __m512i turn = _mm512_load_si512(TURN.at), one = _mm512_set1_epi8(1);
    __m512i acc[P][3] = {}, all = _mm512_setzero_si512();
    const std::uint8_t* const digits = x.row(r);
    for (i64 c = 0; c < features; c += FEATURES, w += FEATURES * BLOCK) {
        const i64 left = features - c;
        const __m512i four = left >= FEATURES
                                 ? _mm512_loadu_si512(w)
                                 : _mm512_maskz_loadu_epi8(((__mmask64)1 << (left * BLOCK)) - 1, w);
        const __m512i wv = _mm512_permutexvar_epi8(turn, four);
        all = _mm512_dpbusd_epi32(all, one, wv);
        #pragma GCC unroll 4
        for (int p = 0; p < P; ++p)
            #pragma GCC unroll 3
            for (int d = 0; d < 3; ++d) {
                std::int32_t xs;
                std::memcpy(&xs, digits + (p * 3 + d) * x.width + c, FEATURES);
                acc[p][d] = _mm512_dpbusd_epi32(acc[p][d], _mm512_set1_epi32(xs), wv);
            }
    }
    #pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
        // the highest digit stands for itself less 128
        const __m512i high = _mm512_sub_epi32(acc[p][2], _mm512_slli_epi32(all, 7));
        const V sum = (V)_mm512_cvtepi32_ps(high) * 65536.f +
                      ((V)_mm512_cvtepi32_ps(acc[p][1]) * 256.f + (V)_mm512_cvtepi32_ps(acc[p][0]));
        store(sums + p * BLOCK, sum * x.step[r + p]);
    }
}
#else
bool by_digits(i64) { return false; }
void take_apart(const real*, i64, const Digits&, i64) {}
template <int P> void digit_sums(const Digits&, i64, const std::int8_t*, i64, real*) {}
#endif
}  // namespace
END_KERNELS
