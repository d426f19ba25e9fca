// How much boxes overlap, a box with a vector of others. Corners, areas and quotients are in the type
// of the boxes and are each rounded, as torchvision and ONNX Runtime have them: a fused multiply-add
// would put pairs on the threshold's other side.
#pragma once
#include <cmath>
#include <limits>
#include "kernel.h"
#include "simd.h"
#include "simd_math.h"

namespace ISA::REAL_NAME {
namespace {
struct Box {
    real x1, y1, x2, y2, area;
    static real area_of(real w, real h) { return rounded(splat(w) * splat(h))[0]; }
    static Box of(real x1, real y1, real x2, real y2) {
        return {x1, y1, x2, y2, area_of(x2 - x1, y2 - y1)};
    }
};

// Boxes as many as a vector has lanes; those of no extent cover nothing.
struct Group {
    real x1[LANES], y1[LANES], x2[LANES], y2[LANES], area[LANES];
    void put(int lane, const Box& box) {
        x1[lane] = box.x1, y1[lane] = box.y1, x2[lane] = box.x2, y2[lane] = box.y2, area[lane] = box.area;
    }
};

inline bool any_lane(M m) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)m, (__m512i)m) != 0;
#elif defined(__AVX2__)
    return !_mm256_testz_si256((__m256i)m, (__m256i)m);
#elif defined(__x86_64__)
    return _mm_movemask_epi8((__m128i)m) != 0;
#else
    lane_int any = 0;
    for (int i = 0; i < LANES; ++i) any |= m[i];
    return any != 0;
#endif
}

// Where they share something; `iou`, there, is how much of what they are together. NaN shares nothing.
inline M touches(const Group& g, const Box& b, V& w, V& h) {
    w = vmin(load(g.x2), splat(b.x2)) - vmax(load(g.x1), splat(b.x1));
    h = vmin(load(g.y2), splat(b.y2)) - vmax(load(g.y1), splat(b.y1));
    return (w > 0) & (h > 0);
}
inline V iou_of(const Group& g, const Box& b, V w, V h) {
    const V shared = rounded(w * h);
    return shared / (load(g.area) + b.area - shared);
}
// The square of the distance of their centres over that of the diagonal of the box around both: what
// distance-IoU takes off. Zheng et al. (2020).
inline V apart(const Group& g, const Box& b) {
    const V dx = (load(g.x1) + load(g.x2) - (b.x1 + b.x2)) / 2, dy = (load(g.y1) + load(g.y2) - (b.y1 + b.y2)) / 2,
            w = vmax(load(g.x2), splat(b.x2)) - vmin(load(g.x1), splat(b.x1)),
            h = vmax(load(g.y2), splat(b.y2)) - vmin(load(g.y1), splat(b.y1));
    return (dx * dx + dy * dy) / (w * w + h * h);
}

// The greatest value of `real` that is not above: what is greater than one is greater than the other.
inline real not_above(double limit) {
    const real near = real(limit);
    return double(near) > limit ? std::nextafter(near, -std::numeric_limits<real>::infinity()) : near;
}
}  // namespace
}  // namespace ISA::REAL_NAME
