// Division with what is left, and rounding.
#include "element.h"

BEGIN_KERNELS
namespace {
template <class V> V floor_quotient(V a, V b) {
    if constexpr (std::is_floating_point_v<V>) {
        // Python's division: of what is left after fmod, which is exact
        if (b == 0) return a / b;
        V left = std::fmod(a, b), quotient = (a - left) / b;
        if (left != 0 && (b < 0) != (left < 0)) quotient -= 1;
        if (quotient == 0) return std::copysign(V(0), a / b);
        const V whole = std::floor(quotient);
        return quotient - whole > V(0.5) ? whole + 1 : whole;
    } else {
        if (b == 0) return 0;
        if constexpr (std::is_signed_v<V>) {
            if (b == V(-1)) return V(Unsigned<V>(0) - Unsigned<V>(a));
            const V quotient = V(a / b);
            return a % b != 0 && (a < 0) != (b < 0) ? V(quotient - 1) : quotient;
        } else return V(a / b);
    }
}
template <class V> V left_over(V a, V b, bool sign_of_divisor) {
    if constexpr (std::is_floating_point_v<V>) {
        const V left = std::fmod(a, b);
        if (!sign_of_divisor) return left;
        return left == 0 ? std::copysign(left, b) : (b < 0) != (left < 0) ? left + b : left;
    } else {
        if (b == 0) return 0;
        if constexpr (std::is_signed_v<V>) {
            if (b == V(-1)) return 0;
            const V left = V(a % b);
            return sign_of_divisor && left != 0 && (b < 0) != (left < 0) ? V(left + b) : left;
        } else return V(a % b);
    }
}
}  // namespace

#define NUMBERS(name, expression) \
    void name(InAny a, InAny b, Dims shape, Dims sa, Dims sb, OutAny y) { \
        two<void, Of::ALL>(a, b, shape, sa, sb, y, [](auto p, auto q) { return expression; }); \
    }
NUMBERS(floor_divide, floor_quotient(p, q))
NUMBERS(remainder, left_over(p, q, true))
NUMBERS(fmod, left_over(p, q, false))

#define OF_FLOAT(name, grain, function) \
    void name(InAny x, OutAny y) { one<Of::FLOATS>(x, y, grain, [](auto v, auto) { return function(v); }); }
OF_FLOAT(floor, GRAIN, std::floor)
OF_FLOAT(ceil, GRAIN, std::ceil)
OF_FLOAT(round, GRAIN, std::nearbyint)
OF_FLOAT(trunc, GRAIN, std::trunc)
END_KERNELS
