// Comparisons, questions, and choices by their answers.
#include "element.h"

BEGIN_KERNELS
#define COMPARISON(name, expression) \
    void name(InAny a, InAny b, Dims shape, Dims sa, Dims sb, OutAny y) { \
        two<Bool, Of::ALL>(a, b, shape, sa, sb, y, [](auto p, auto q) { return expression; }); \
    }
COMPARISON(equal, p == q)
COMPARISON(not_equal, p != q)
COMPARISON(less, p < q)
COMPARISON(less_equal, p <= q)

void select(InAny condition, InAny a, InAny b, Dims shape, Dims sc, Dims sa, Dims sb, OutAny y) {
    const Dims strides[] = {sc, sa, sb};
    for_width(size_of(y.element), [&](auto width) {
        using T = decltype(width);
        broadcast(
            shape, y.as<T>(), [](std::uint8_t c, T p, T q) { return c ? p : q; }, strides,
            condition.as<const Bool>(), a.as<const T>(), b.as<const T>());
    });
}

namespace {
template <class F> void question(const InAny& x, const OutAny& y, F f) {
    for_element(x.element, [&](auto element) {
        using T = decltype(element);
        map(x.as<const T>(), y.as<Bool>(), y.size(), GRAIN, [&](Value<T> v) { return std::uint8_t(f(v)); });
    });
}
}  // namespace
void logical_not(InAny x, OutAny y) { question(x, y, [](auto v) { return v == decltype(v)(0); }); }
void isnan(InAny x, OutAny y) { question(x, y, [](auto v) { return v != v; }); }
void isinf(InAny x, bool positive, bool negative, OutAny y) {
    question(x, y, [=](auto v) {
        using V = decltype(v);
        if constexpr (std::is_floating_point_v<V>)
            return (positive && v == std::numeric_limits<V>::infinity()) ||
                   (negative && v == -std::numeric_limits<V>::infinity());
        else return false;
    });
}
END_KERNELS
