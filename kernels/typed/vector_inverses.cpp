// Inverse trigonometric, hyperbolic and inverse hyperbolic functions of floats by vectors; other types by the
// C library.
//
// atan, asin and sinh are odd polynomials near 0 (Moshier's of cephes), to which larger arguments are brought:
// atan x = pi/4 + atan((x - 1) / (x + 1)) and pi/2 - atan(1 / x); asin x = pi/2 - 2 asin(sqrt((1 - x) / 2)).
// The hyperbolic ones stand on e^|x| / 2, the inverse ones on log(1 + x) of what keeps its digits near 0.
// Errors against long double are at most 4 units in the last place (tests/rows/test_simd_math.py).
#include "floats.h"

BEGIN_KERNELS
namespace {
constexpr real PI = 3.14159265358979323846, HALF_PI = PI / 2, QUARTER_PI = PI / 4;
constexpr float LN2 = 0.69314718055994530942f, LARGE = 1e9f;   // squares of larger ones are not added to
constexpr real ATAN_C[] = {-3.33329491539e-1f, 1.99777106478e-1f, -1.38776856032e-1f, 8.05374449538e-2f};
constexpr real ASIN_C[] = {1.6666752422e-1f, 7.4953002686e-2f, 4.5470025998e-2f, 2.4181311049e-2f,
                           4.2163199048e-2f};
constexpr real SINH_C[] = {1.66667160211e-1f, 8.33028376239e-3f, 2.03721912945e-4f};

template <std::size_t N> V odd(V x, V z, const real (&c)[N]) { return x + x * z * polynomial(z, c); }

V arc_tangent(V x) {
    const V a = vabs(x);
    const M steep = a > real(2.414213562), middle = a > real(0.4142135624);
    const V t = (steep ? splat(-1) : middle ? a - 1 : a) / (steep ? a : middle ? a + 1 : splat(1));
    return with_sign((steep ? splat(HALF_PI) : middle ? splat(QUARTER_PI) : V{}) + odd(t, t * t, ATAN_C), x);
}

// asin of a <= 1/2, or of sqrt((1 - a) / 2) for larger ones
struct ArcSine { V of; M large; };
ArcSine arc_sine(V a) {
    const M large = a > real(0.5);
    const V z = large ? real(0.5) * (1 - a) : a * a, t = large ? vsqrt(z) : a;
    return {odd(t, z, ASIN_C), large};
}

// e^a / 2, which is finite a little beyond where e^a is
V half_exp(V a) { return vexp(a - LN2_HI, splat(-LN2_LO)); }

}  // namespace

void atan(InAny x, OutAny y) {
    floats_by(x, y, arc_tangent, [](auto v) { return std::atan(v); });
}
void asin(InAny x, OutAny y) {
    floats_by(x, y, [](V v) {
        const ArcSine s = arc_sine(vabs(v));
        return with_sign(s.large ? HALF_PI - 2 * s.of : s.of, v);
    }, [](auto v) { return std::asin(v); });
}
void acos(InAny x, OutAny y) {
    floats_by(x, y, [](V v) {
        const ArcSine s = arc_sine(vabs(v));
        return s.large ? (v < 0 ? PI - 2 * s.of : 2 * s.of) : HALF_PI - with_sign(s.of, v);
    }, [](auto v) { return std::acos(v); });
}
void sinh(InAny x, OutAny y) {
    floats_by(x, y, [](V v) {
        const V a = vabs(v), e = half_exp(a);
        return with_sign(a < 1 ? odd(a, a * a, SINH_C) : e - real(0.25) / e, v);
    }, [](auto v) { return std::sinh(v); });
}
void cosh(InAny x, OutAny y) {
    floats_by(x, y, [](V v) {
        const V e = half_exp(vabs(v));
        return e + real(0.25) / e;
    }, [](auto v) { return std::cosh(v); });
}
void asinh(InAny x, OutAny y) {
    floats_by(x, y, [](V v) {
        const V a = vabs(v), z = a * a, near = vlog1p(a + z / (1 + vsqrt(1 + z)));
        return with_sign(a > LARGE ? vlog(a) + LN2 : near, v);
    }, [](auto v) { return std::asinh(v); });
}
void acosh(InAny x, OutAny y) {
    floats_by(x, y, [](V v) {
        const V t = v - 1, near = vlog1p(t + vsqrt(t * (t + 2)));
        return v > LARGE ? vlog(v) + LN2 : v < 1 ? splat(NOT_A_NUMBER) : near;
    }, [](auto v) { return std::acosh(v); });
}
void atanh(InAny x, OutAny y) {
    floats_by(x, y, [](V v) {
        const V a = vabs(v);
        return with_sign(real(0.5) * vlog1p(2 * a / (1 - a)), v);
    }, [](auto v) { return std::atanh(v); });
}
END_KERNELS
