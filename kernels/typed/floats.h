// Functions of floats by vectors; of other types by `exact`, value by value.
#pragma once
#include "element.h"
#include "simd_math.h"

BEGIN_KERNELS
template <Of types = Of::FLOATS, class F, class Exact>
static inline void floats_by(const InAny& x, const OutAny& y, F f, Exact exact) {
    if (x.element != Element::FLOAT)
        return one<types>(x, y, 1024, [&](auto v, auto) { return exact(v); });
    const i64 n = y.size();
    parallel_for((n + LANES - 1) / LANES, 8192 / LANES, [&](i64 begin, i64 end) {
        const i64 from = begin * LANES, to = end * LANES < n ? end * LANES : n;
        const float* const in = x.as<const float>() + from;
        float* const out = y.as<float>() + from;
        for_vectors(to - from, [=](i64 i, auto lanes) { lanes.store(out + i, f(lanes.load(in + i))); });
    });
}
END_KERNELS
