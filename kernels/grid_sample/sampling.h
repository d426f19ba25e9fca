// What reading images between their pixels takes, in grid_sample and deform_conv: places as whole
// numbers, gathers, and images with the channels last.
#pragma once
#include "gathered.h"
#include "kernel.h"

namespace ISA::REAL_NAME {
static inline V choose(M m, V a, V b) { return m ? a : b; }
static inline M within(V at, real low, real high) { return (at >= splat(low)) & (at <= splat(high)); }
static inline V clipped(V at, real low, real high) { return vmin(splat(high), vmax(splat(low), at)); }   // keeps NaN

static inline M whole(V at) { return __builtin_convertvector(choose(at == at, at, V{}), M); }

static inline bool all_true(M m) {
#if defined(__AVX512F__) && defined(REAL_f32)
    return _mm512_test_epi32_mask((__m512i)m, (__m512i)m) == 0xffff;
#elif defined(__AVX512F__)
    return _mm512_test_epi64_mask((__m512i)m, (__m512i)m) == 0xff;
#else
    for (int i = 0; i < LANES; ++i)
        if (!m[i]) return false;
    return true;
#endif
}

// What lies outside counts 0, whatever the pixel at its edge is.
template <bool ALL> static inline V pixel(const real* plane, M at, M inside) {
    const V v = gathered(plane, at);
    return ALL ? v : inside ? v
                            : V{};
}

// (channels, pixels) to (pixels, channels), `LANES` of each at a time.
static inline void channels_last(const real* x, i64 channels, i64 pixels, i64 begin, i64 end, real* to) {
    for (i64 p = begin; p < end; p += LANES)
        for (i64 c = 0; c < channels; c += LANES) {
            const int across = end - p < LANES ? (int)(end - p) : LANES;
            const int valid = channels - c < LANES ? (int)(channels - c) : LANES;
            V rows[LANES];
            for (int r = 0; r < LANES; ++r)
                rows[r] = r >= valid        ? V{}
                          : across == LANES ? load(x + (c + r) * pixels + p)
                                            : load(x + (c + r) * pixels + p, across);
            interleave(rows);
            for (int i = 0; i < across; ++i) {
                if (valid == LANES) store(to + (p + i) * channels + c, rows[i]);
                else store(to + (p + i) * channels + c, rows[i], valid);
            }
        }
}
}  // namespace ISA::REAL_NAME
