// Floats as whole numbers of few bits with a scale and a zero point, and back. Scales and
// zero points broadcast; mostly they are one number along the rows of memory, for which there
// is a loop of its own.
#include "element.h"

BEGIN_KERNELS
namespace {
// f(y, x, scale, zero) row by row, for rows of `width` values whose scales and zero points
// stand still or go along
template <class X, class Y, class F>
void rows(const X* x, const float* scale, const float* zero, const Dims& shape, const Dims& sx,
          const Dims& ss, const Dims& sz, Y* y, F f) {
    const int last = shape.n - 1;
    i64 count = 1;
    for (int axis = 0; axis < last; ++axis) count *= shape[axis];
    const i64 width = shape[last], pieces = (width + GRAIN - 1) / GRAIN;
    parallel_for(count * pieces, 1 + GRAIN / (width + 1), [&](i64 begin, i64 end) {
        const F own = f;   // bytes that are stored may be anything's in memory, a local's they are not
        for (i64 t = begin; t < end; ++t) {
            i64 atx = 0, ats = 0, atz = 0, left = t / pieces;
            for (int axis = last - 1; axis >= 0; --axis) {
                const i64 i = left % shape[axis];
                left /= shape[axis];
                atx += i * sx[axis], ats += i * ss[axis], atz += i * sz[axis];
            }
            const i64 from = t % pieces * GRAIN, n = width - from < GRAIN ? width - from : GRAIN;
            Y* const       to = y + t / pieces * width + from;
            const X* const in = x + atx + from * sx[last];
            if (sx[last] == 1 && ss[last] == 0 && sz[last] == 0) {
                const float s = scale[ats], z = zero[atz];
                for (i64 i = 0; i < n; ++i) to[i] = own(in[i], s, z);
            } else {
                for (i64 i = 0; i < n; ++i)
                    to[i] = own(in[i * sx[last]], scale[ats + (from + i) * ss[last]],
                              zero[atz + (from + i) * sz[last]]);
            }
        }
    });
}
template <class F> void for_bytes(Element element, F f) {   // whole types that are quantised to
    switch (element) {
        case Element::CHAR:   return f(std::int8_t{});
        case Element::BYTE:   return f(std::uint8_t{});
        case Element::SHORT:  return f(std::int16_t{});
        case Element::USHORT: return f(std::uint16_t{});
        default: return;
    }
}
}  // namespace

void quantise(InAny x, InAny scale, InAny zero, Dims shape, Dims sx, Dims ss, Dims sz, double least,
              double most, OutAny y) {
    const float low = float(least), high = float(most);
    for_bytes(y.element, [&](auto to) {
        using T = decltype(to);
        rows(x.as<const float>(), scale.as<const float>(), zero.as<const float>(), shape, sx, ss, sz,
             y.as<T>(), [=](float v, float s, float z) {
                 // Rounded by what a sum with 1.5 2^23 has no room for; limits keep it small enough, and
                 // NaN becomes the least.
                 constexpr float MAGIC = 12582912, FAR = 1 << 21;
                 float q = v / s;
                 q = q > -FAR ? q : -FAR;
                 q = q < FAR ? q : FAR;
                 q = ((q + MAGIC) - MAGIC) + z;
                 q = q > low ? q : low;
                 q = q < high ? q : high;
                 return T(std::int32_t(q));
             });
    });
}

void dequantise(InAny x, InAny scale, InAny zero, Dims shape, Dims sx, Dims ss, Dims sz, OutAny y) {
    for_bytes(x.element, [&](auto from) {
        using T = decltype(from);
        rows(x.as<const T>(), scale.as<const float>(), zero.as<const float>(), shape, sx, ss, sz,
             y.as<float>(), [](T v, float s, float z) { return (float(std::int32_t(v)) - z) * s; });
    });
}

void fake_quantise(InAny x, double scale, double least, double most, double by, OutAny y) {
    const float* const in = x.as<const float>();
    float* const       to = y.as<float>();
    const float s = float(scale), low = float(least), high = float(most), times = float(by);
    const i64 n = y.size();
    parallel_for((n + GRAIN - 1) / GRAIN, 1, [&](i64 begin, i64 end) {
        const i64 last = end * GRAIN < n ? end * GRAIN : n;
        for (i64 i = begin * GRAIN; i < last; ++i) {
            constexpr float MAGIC = 12582912;   // as above; the sum with 0 has no -0
            float q = in[i] / s;
            q = q > low ? q : low;
            q = q < high ? q : high;
            to[i] = (((q + MAGIC) - MAGIC) + 0.0f) * times;
        }
    });
}
END_KERNELS
