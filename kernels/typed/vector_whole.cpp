// Arithmetic of whole numbers and truth values that vectors have: sums, products, extremes, bits, shifts. All
// wrap as two's complement does.
#include "element.h"

BEGIN_KERNELS
namespace {
template <class V> V shifted_left(V a, V b) {
    const auto bits = std::make_unsigned_t<V>(b);
    return bits >= 8 * sizeof(V) ? 0 : V(Unsigned<V>(a) << bits);
}
template <class V> V shifted_right(V a, V b) {
    const auto bits = std::make_unsigned_t<V>(b);
    return bits >= 8 * sizeof(V) ? (a < V(0) ? V(-1) : V(0)) : V(a >> bits);
}

// The type without a sign that is as wide: sums, products and bits do not know of signs.
Element unsigned_of(Element element) {
    switch (element) {
        case Element::LONG:  return Element::ULONG;
        case Element::INT:   return Element::UINT;
        case Element::SHORT: return Element::USHORT;
        case Element::CHAR:  return Element::BYTE;
        default: return element;
    }
}

// y = f(a, b) of arrays that broadcast, for types without signs
template <class F>
void two_unsigned(const InAny& a, const InAny& b, const Dims& shape, const Dims& sa, const Dims& sb, const OutAny& y,
                  F f) {
    for_element(unsigned_of(a.element), [&](auto element) {
        using T = decltype(element);
        const Dims strides[] = {sa, sb};
        if constexpr (is_bool<T> || std::is_unsigned_v<T>)
            broadcast(
                shape, y.as<T>(), [&](Value<T> p, Value<T> q) { return Value<T>(f(p, q)); }, strides,
                a.as<const T>(), b.as<const T>());
    });
}
}  // namespace

#define BITS(name, expression) \
    void name(InAny a, InAny b, Dims shape, Dims sa, Dims sb, OutAny y) { \
        two_unsigned(a, b, shape, sa, sb, y, [](auto p, auto q) { \
            using V = decltype(p); \
            return V(expression); \
        }); \
    }
#define WHOLE(name, expression) \
    void name(InAny a, InAny b, Dims shape, Dims sa, Dims sb, OutAny y) { \
        two<void, Of::WHOLE>(a, b, shape, sa, sb, y, [](auto p, auto q) { \
            using V = decltype(p); \
            return V(expression); \
        }); \
    }
BITS(whole_add, Unsigned<V>(p) + Unsigned<V>(q))
BITS(whole_sub, Unsigned<V>(p) - Unsigned<V>(q))
BITS(whole_mul, Unsigned<V>(p) * Unsigned<V>(q))
WHOLE(whole_maximum, p < q ? q : p)
WHOLE(whole_minimum, q < p ? q : p)
BITS(bitwise_and, p & q)
BITS(bitwise_or, p | q)
BITS(bitwise_xor, p ^ q)
WHOLE(shift_left, shifted_left(p, q))
WHOLE(shift_right, shifted_right(p, q))
END_KERNELS
