// Sine, cosine and tangent of floats and doubles by vectors; halves and angles beyond FAR by the C library.
//
// x = n pi/2 + r is worked out in double, whose product n HALF_PI_HI is exact for |n| < 2^20: r is right
// to a float's last place even where it is nearly 0. Then sin r = r + r z S(z) and cos r = 1 - z/2 +
// z^2 C(z) with z = r^2, minimax fits on |r| <= pi/4 (Lawson's iteration), whose signs and order n says.
// Errors against long double are at most 1.5 units in the last place (tests/rows/test_simd_math.py).
//
// Of a double, r is a sum of two, from pi/2 in four parts, and sine and cosine are fdlibm's polynomials of it (Sun,
// 1993). An r that is nearly 0, where more of pi/2 would be needed, goes to the C library as well.
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

typedef double Doubles __attribute__((vector_size(VECTOR_BYTES)));
typedef std::int64_t Wholes __attribute__((vector_size(VECTOR_BYTES)));
constexpr int PAIRED = LANES / 2;
constexpr double HALF_PI_2 = 6.07710050630396597660e-11, HALF_PI_2_LO = 2.02226624879595063154e-21, NEARLY_0 = 0x1p-24;
constexpr double WIDE_SIN_C[] = {8.33333333332248946124e-03, -1.98412698298579493134e-04, 2.75573137070700676789e-06,
                                 -2.50507602534068634195e-08, 1.58969099521155010221e-10};
constexpr double WIDE_SIN_1 = -1.66666666666666324348e-01;
constexpr double WIDE_COS_C[] = {4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
                                 -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11};
template <std::size_t N> Doubles wide_polynomial(Doubles x, const double (&c)[N]) {
    Doubles y = Doubles{} + c[N - 1];
    for (int i = int(N) - 2; i >= 0; --i) y = y * x + c[i];
    return y;
}
struct WideTurned {
    Doubles  sine, cosine;
    Wholes turns, left;   // left: lanes for the C library
};
WideTurned wide_turned(Doubles x) {
    const Doubles shifted = x * TWO_OVER_PI + WHOLE, n = shifted - WHOLE;
    const Doubles first = x - n * HALF_PI_HI, part = n * HALF_PI_2, next = first - part;
    const Doubles rest = n * HALF_PI_2_LO - ((first - next) - part);
    const Doubles r = next - rest, lo = (next - r) - rest, z = r * r, v = z * r;
    const Doubles s = r - ((z * (lo * 0.5 - v * wide_polynomial(z, WIDE_SIN_C)) - lo) - v * WIDE_SIN_1);
    const Doubles half = z * 0.5, one = 1 - half;
    const Doubles c = one + (((1 - one) - half) + (z * (z * wide_polynomial(z, WIDE_COS_C)) - r * lo));
    const Doubles size = x < 0 ? -x : x, near = r < 0 ? -r : r;
    return {r == 0 ? r : s, c, (Wholes)shifted, ~(size < double(FAR)) | ((near < NEARLY_0) & (n != 0))};
}
// The sine of x + quarter pi/2
struct WideSine {
    int quarter;
    Doubles operator()(Doubles x, Wholes& left) const {
        const WideTurned t = wide_turned(x);
        const Wholes turns = t.turns + quarter;
        left = t.left;
        return (Doubles)((Wholes)((turns & 1) != 0 ? t.cosine : t.sine) ^ ((turns & 2) << 62));
    }
};
struct WideTangent {
    Doubles operator()(Doubles x, Wholes& left) const {
        const WideTurned t = wide_turned(x);
        const Wholes odd = (t.turns & 1) != 0;
        left = t.left;
        return (odd ? -t.cosine : t.sine) / (odd ? t.sine : t.cosine);
    }
};
template <class F, class Exact> void wide_angles(const double* x, double* y, i64 n, F f, Exact exact) {
    for (i64 i = 0; i < n; i += PAIRED) {
        const i64 count = n - i < PAIRED ? n - i : PAIRED;
        Doubles v{};
        Wholes left;
        std::memcpy(&v, x + i, count * sizeof(double));
        Doubles found = f(v, left);
        std::int64_t any = 0;
        for (int k = 0; k < PAIRED; ++k) any |= left[k];
        if (any)
            for (int k = 0; k < count; ++k)
                if (left[k]) found[k] = exact(v[k]);
        std::memcpy(y + i, &found, count * sizeof(double));
    }
}

template <class F, class G, class Exact> void angles(const InAny& x, const OutAny& y, F f, G of_doubles, Exact exact) {
    constexpr i64 BLOCK_OF = 1024;
    const i64 n = y.size(), blocks = (n + BLOCK_OF - 1) / BLOCK_OF;
    if (x.element == Element::DOUBLE)
        return parallel_for(blocks, 4, [&](i64 begin, i64 end) {
            const i64 from = begin * BLOCK_OF;
            wide_angles(x.as<const double>() + from, y.as<double>() + from, std::min(n, end * BLOCK_OF) - from,
                        of_doubles, exact);
        });
    if (x.element != Element::FLOAT)
        return one<Of::FLOATS>(x, y, 1024, [&](auto v, auto) { return exact(v); });
    parallel_for(blocks, 4, [&](i64 begin, i64 end) {
        for (i64 block = begin; block < end; ++block)
            angles_of(x.as<const float>(), y.as<float>(), block * BLOCK_OF, std::min(n, (block + 1) * BLOCK_OF), f,
                      exact);
    });
}
}  // namespace

void sin(InAny x, OutAny y) {
    angles(x, y, [](V v) { return sine(v, 0); }, WideSine{0}, [](auto v) { return std::sin(v); });
}
void cos(InAny x, OutAny y) {
    angles(x, y, [](V v) { return sine(v, 1); }, WideSine{1}, [](auto v) { return std::cos(v); });
}
void tan(InAny x, OutAny y) {
    angles(x, y, tangent, WideTangent{}, [](auto v) { return std::tan(v); });
}
END_KERNELS
