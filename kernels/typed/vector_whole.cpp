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
}  // namespace

#define WHOLE(name, expression) \
    void name(InAny a, InAny b, Dims shape, Dims sa, Dims sb, OutAny y) { \
        two<void, Of::WHOLE>(a, b, shape, sa, sb, y, [](auto p, auto q) { \
            using V = decltype(p); \
            return V(expression); \
        }); \
    }
WHOLE(whole_add, Unsigned<V>(p) + Unsigned<V>(q))
WHOLE(whole_sub, Unsigned<V>(p) - Unsigned<V>(q))
WHOLE(whole_mul, Unsigned<V>(p) * Unsigned<V>(q))
WHOLE(whole_maximum, p < q ? q : p)
WHOLE(whole_minimum, q < p ? q : p)
WHOLE(bitwise_and, p & q)
WHOLE(bitwise_or, p | q)
WHOLE(bitwise_xor, p ^ q)
WHOLE(shift_left, shifted_left(p, q))
WHOLE(shift_right, shifted_right(p, q))
END_KERNELS
