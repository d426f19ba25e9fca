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

namespace {
// As left_over has it, of `n` floats a and of b, all or the same one: by a quotient in double, q. What is left of
// a - q b is exact there, and q one too large at most. Where q is far from 0, or is none, C's own function is asked.
template <bool SIGN_OF_DIVISOR> void left_of_floats(const float* a, const float* b, i64 step, float* y, i64 n) {
    int far = 0;
    for (i64 i = 0; i < n; ++i) {
        const double p = a[i], q = b[i * step], whole = std::trunc(p / q);
        far |= int(!(std::fabs(whole) < 0x1p28)) | int(!(std::fabs(q) <= double(std::numeric_limits<float>::max())));
        double left = p - whole * q;
        left = p * left < 0 ? left + std::copysign(q, p) : left;
        if (SIGN_OF_DIVISOR) {
            const float some = float(left), other = some + float(q);
            y[i] = some == 0 ? std::copysign(0.f, float(q)) : p * q < 0 ? other : some;
        } else y[i] = float(std::copysign(left, p));
    }
    if (far)
        for (i64 i = 0; i < n; ++i) y[i] = left_over(a[i], b[i * step], SIGN_OF_DIVISOR);
}

// Whether it did: of floats, the second operand like the first or one number
template <bool SIGN_OF_DIVISOR>
bool left_quickly(const InAny& a, const InAny& b, const Dims& shape, const Dims& sa, const Dims& sb, const OutAny& y) {
    if (a.element != Element::FLOAT || shape.n != 1 || sa[0] != 1) return false;
    constexpr i64 BLOCK_OF = 1024;
    const i64 n = shape[0], step = sb[0];
    parallel_for((n + BLOCK_OF - 1) / BLOCK_OF, 4, [&](i64 begin, i64 end) {
        for (i64 at = begin * BLOCK_OF; at < n && at < end * BLOCK_OF; at += BLOCK_OF)
            left_of_floats<SIGN_OF_DIVISOR>(a.as<const float>() + at, b.as<const float>() + at * step, step,
                                            y.as<float>() + at, n - at < BLOCK_OF ? n - at : BLOCK_OF);
    });
    return true;
}
}  // namespace

void floor_divide(InAny a, InAny b, Dims shape, Dims sa, Dims sb, OutAny y) {
    two<void, Of::ALL>(a, b, shape, sa, sb, y, [](auto p, auto q) { return floor_quotient(p, q); });
}
void remainder(InAny a, InAny b, Dims shape, Dims sa, Dims sb, OutAny y) {
    if (left_quickly<true>(a, b, shape, sa, sb, y)) return;
    two<void, Of::ALL>(a, b, shape, sa, sb, y, [](auto p, auto q) { return left_over(p, q, true); });
}
void fmod(InAny a, InAny b, Dims shape, Dims sa, Dims sb, OutAny y) {
    if (left_quickly<false>(a, b, shape, sa, sb, y)) return;
    two<void, Of::ALL>(a, b, shape, sa, sb, y, [](auto p, auto q) { return left_over(p, q, false); });
}

#define OF_FLOAT(name, grain, function) \
    void name(InAny x, OutAny y) { one<Of::FLOATS>(x, y, grain, [](auto v, auto) { return function(v); }); }
OF_FLOAT(floor, GRAIN, std::floor)
OF_FLOAT(ceil, GRAIN, std::ceil)
OF_FLOAT(round, GRAIN, std::nearbyint)
OF_FLOAT(trunc, GRAIN, std::trunc)
END_KERNELS
