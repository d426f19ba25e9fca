// Sine, cosine and tangent of floats by vectors; other types and angles beyond FAR by the C library.
//
// x = n pi/2 + r is worked out in double, whose product n HALF_PI_HI is exact for |n| < 2^20: r is right
// to a float's last place even where it is nearly 0. Then sin r = r + r z S(z) and cos r = 1 - z/2 +
// z^2 C(z) with z = r^2, minimax fits on |r| <= pi/4 (Lawson's iteration), whose signs and order n says.
// Errors against long double are at most 1.5 units in the last place (tests/rows/test_simd_math.py).
#include <algorithm>
#include "element.h"
#include "simd_math.h"

BEGIN_KERNELS
namespace {
typedef double Wide __attribute__((vector_size(2 * VECTOR_BYTES)));   // as many lanes as V
typedef std::int64_t Turns __attribute__((vector_size(2 * VECTOR_BYTES)));
constexpr float FAR = 1 << 20;
constexpr double TWO_OVER_PI = 0.63661977236758134308, HALF_PI_HI = 1.57079632673412561417,   // 33 bits
    HALF_PI_LO = 6.07710050650619224932e-11, WHOLE = 6755399441055744;                        // 1.5 2^52
constexpr real SIN_C[] = {-0.1666665461f, 0.008332160527f, -0.0001951525062f};
constexpr real COS_C[] = {0.04166664568f, -0.001388731593f, 2.443311983e-05f};

struct Turned {
    V sine, cosine;   // of r
    M turns;
};
Turned turned(V x) {
    const Wide wide = __builtin_convertvector(x, Wide), shifted = wide * TWO_OVER_PI + WHOLE, n = shifted - WHOLE;
    const V r = __builtin_convertvector((wide - n * HALF_PI_HI) - n * HALF_PI_LO, V), z = r * r;
    const V s = r + r * z * polynomial(z, SIN_C), c = 1 - z * real(0.5) + z * z * polynomial(z, COS_C);
    return {r == 0 ? r : s, c, __builtin_convertvector((Turns)shifted, M)};   // r may be -0
}

// The sine of x + quarter pi/2, for |x| < FAR
V sine(V x, int quarter) {
    const Turned t = turned(x);
    const M turns = t.turns + quarter;
    return as_real(as_int((turns & 1) != 0 ? t.cosine : t.sine) ^ ((turns & 2) << 30));
}

V tangent(V x) {
    const Turned t = turned(x);
    const M odd = (t.turns & 1) != 0;
    return (odd ? -t.cosine : t.sine) / (odd ? t.sine : t.cosine);
}

// Values [begin, end) by f; y may be x
template <class F, class Exact> void angles_of(const float* x, float* y, i64 begin, i64 end, F f, Exact exact) {
    M far{};
    for (i64 i = begin; i < end; i += LANES)
        far |= ~(vabs(load(x + i, int(end - i < LANES ? end - i : LANES))) < FAR);
    bool any = false;
    for (int k = 0; k < LANES; ++k) any |= far[k] != 0;
    for (i64 i = begin; i < end; i += LANES) {
        const int n = int(end - i < LANES ? end - i : LANES);
        const V v = load(x + i, n);
        V found = f(v);
        if (any)
            for (int k = 0; k < n; ++k)
                if (!(std::fabs(v[k]) < FAR)) found[k] = exact(v[k]);
        store(y + i, found, n);
    }
}

template <class F, class Exact> void angles(const InAny& x, const OutAny& y, F f, Exact exact) {
    if (x.element != Element::FLOAT)
        return one<Of::FLOATS>(x, y, 1024, [&](auto v, auto) { return exact(v); });
    constexpr i64 BLOCK_OF = 1024;
    const i64 n = y.size();
    parallel_for((n + BLOCK_OF - 1) / BLOCK_OF, 4, [&](i64 begin, i64 end) {
        for (i64 block = begin; block < end; ++block)
            angles_of(x.as<const float>(), y.as<float>(), block * BLOCK_OF, std::min(n, (block + 1) * BLOCK_OF), f,
                      exact);
    });
}
}  // namespace

void sin(InAny x, OutAny y) {
    angles(x, y, [](V v) { return sine(v, 0); }, [](auto v) { return std::sin(v); });
}
void cos(InAny x, OutAny y) {
    angles(x, y, [](V v) { return sine(v, 1); }, [](auto v) { return std::cos(v); });
}
void tan(InAny x, OutAny y) {
    angles(x, y, tangent, [](auto v) { return std::tan(v); });
}
END_KERNELS
