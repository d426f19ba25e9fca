// Quotients, powers and the like of whole numbers and truth values, which wrap as two's complement does; a
// division by 0 gives 0.
#include "element.h"

BEGIN_KERNELS
namespace {
// by squaring; a negative exponent leaves of 1 and -1 alone something whole
template <class V> V power(V a, V b) {
    if constexpr (std::is_signed_v<V>)
        if (b < 0) return a == 1 ? 1 : a == V(-1) ? (b % 2 ? V(-1) : V(1)) : 0;
    Unsigned<V> result = 1, base = Unsigned<V>(a);
    for (auto left = std::make_unsigned_t<V>(b); left; left >>= 1, base *= base)
        if (left & 1) result *= base;
    return V(result);
}
}  // namespace

#define WHOLE(name, expression) \
    void name(InAny a, InAny b, Dims shape, Dims sa, Dims sb, OutAny y) { \
        two<void, Of::WHOLE>(a, b, shape, sa, sb, y, [](auto p, auto q) { \
            using V = decltype(p); \
            return V(expression); \
        }); \
    }
WHOLE(whole_pow, power(p, q))
// Towards zero, as C has it
WHOLE(whole_div, q == V(0)                           ? V(0)
                 : std::is_signed_v<V> && q == V(-1) ? V(Unsigned<V>(0) - Unsigned<V>(p))
                                                     : V(p / q))

void whole_neg(InAny x, OutAny y) {
    one<Of::WHOLE>(x, y, GRAIN,
                   [](auto v, auto) { return Unsigned<decltype(v)>(0) - Unsigned<decltype(v)>(v); });
}
void whole_abs(InAny x, OutAny y) {
    one<Of::WHOLE>(x, y, GRAIN, [](auto v, auto) {
        using V = decltype(v);
        return v < V(0) ? V(Unsigned<V>(0) - Unsigned<V>(v)) : v;
    });
}
void bitwise_not(InAny x, OutAny y) {
    one<Of::WHOLE>(x, y, GRAIN, [](auto v, auto stored) {
        using V = decltype(v);
        return is_bool<decltype(stored)> ? V(!v) : V(~v);
    });
}
END_KERNELS
