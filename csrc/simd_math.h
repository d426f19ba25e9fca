// Elementary functions of V, in both types: vexp, vexpm1, vlog, vlog1p, vtanh,
// vsigmoid, verf, vpow.
// Each reduces its argument, evaluates one polynomial and puts the pieces together with at most one
// division; special values (infinities, NaN, signed zeros, subnormals, overflow) come out as in C's
// math.h. Errors, measured against long double on the sets with and without a fused multiply-add:
// at most 2 units in the last place, vsigmoid 2.5, vexpm1 and vpow 3.
// The polynomials are minimax fits (Lawson's iteration, 40 digits). Reductions and the form of vlog
// follow fdlibm (Sun, 1993).
#pragma once
#include <type_traits>
#include "simd.h"

namespace ISA::REAL_NAME {
typedef std::make_unsigned_t<lane_int> lane_uint;
typedef lane_uint U __attribute__((vector_size(VECTOR_BYTES)));
constexpr real INF = __builtin_inf(), NOT_A_NUMBER = __builtin_nan("");

#if defined(REAL_f32)
constexpr int  MANTISSA = 23, BIAS = 127;
constexpr real EXP_LOW = -104, EXP_HIGH = 89, EXPM1_LOW = -20, TANH_ONE = 10, ERF_ONE = 4, SIGMOID_ONE = 40,
               MIN_NORMAL = 1.17549435e-38f;
constexpr real LN2_HI = 0.693359375f, LN2_LO = -2.12194440e-4f;   // e * LN2_HI is exact for every exponent e
constexpr real DEKKER = 4097, POW_LIMIT = 1.0995116e12f;          // 2^12 + 1; 2^40
// (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2
constexpr real EXP_C[] = {0.5000000101f, 0.1666651766f, 0.04166618910f, 0.008369029332f, 0.001395153444f};
// log((1 + s) / (1 - s)) = s (2 + z (2/3 + z C(z))), z = s^2, for (1 + s) / (1 - s) within sqrt(2) of 1
constexpr real LOG_C[] = {0.4000015134f, 0.2854720897f, 0.2341699131f};
// erf(x) / x - 1 as a polynomial in x^2 on |x| <= 1, and erfc(x) e^(x^2) in (x - 2.5) / 1.5 on 1 .. 4
constexpr real ERF_C[] = {0.1283791657f,   -0.3761262584f,    0.1128358529f,  -0.02685381805f,
                          0.005188339888f, -0.0008010304992f, 7.854240500e-5f};
constexpr real ERFC_C[] = {0.2108063243f,    -0.1115242341f,   0.05609120039f,  -0.02699740671f,
                           0.01277455663f,   -0.004917530570f, 0.002523146859f, -0.002389221091f,
                           -0.001529994385f, -0.001089948824f};
constexpr real ERFC_MID = 2.5f, ERFC_HALF = 1.5f;
// tanh(x) = x + x^3 C(x^2) on |x| <= 0.5625
constexpr real TANH_C[] = {-0.3333331451f, 0.1333247158f, -0.05383927996f, 0.02101443134f, -0.006188862661f};
#else
constexpr int  MANTISSA = 52, BIAS = 1023;
constexpr real EXP_LOW = -746, EXP_HIGH = 710, EXPM1_LOW = -40, TANH_ONE = 20, ERF_ONE = 6, SIGMOID_ONE = 80,
               MIN_NORMAL = 2.2250738585072014e-308;
constexpr real LN2_HI = 6.93147180369123816490e-01, LN2_LO = 1.90821492927058770002e-10;
constexpr real DEKKER = 134217729, POW_LIMIT = 1.1805916207174113e21;   // 2^27 + 1; 2^70
constexpr real EXP_C[] = {0.500000000000001320,     0.166666666666666915,   0.0416666666665115053,
                          0.00833333333331154184,   0.00138888889480772239, 0.000198412699087282260,
                          0.0000248014888009939319, 2.75572235424209397e-6, 2.76317028879731065e-7,
                          2.51156901713919548e-8};
constexpr real LOG_C[] = {0.400000000000022744, 0.285714285700895857, 0.222222225218557275,
                          0.181817841886310491, 0.153867658601206452, 0.132566140934607301,
                          0.131982519078780951};
constexpr real ERF_C[] = {0.128379167095512574,    -0.376126389031837476,     0.112837916709548578,
                          -0.0268661706450729460,  0.00522397762478137757,    -0.000854832697877214773,
                          0.000120553310380074767, -0.0000149255935337816852, 1.64609732512906581e-6,
                          -1.63500298444985144e-7, 1.46579109797413465e-8,    -1.13657862843947845e-9,
                          5.94546490199252713e-11};
constexpr real TANH_C[] = {-0.333333333333332799,    0.133333333333234610,     -0.0539682539618996923,
                           0.0218694883319001437,    -0.00886323170718199649,  0.00359208290498583653,
                           -0.00145548355765178284,  0.000588198639298095531,  -0.000232751776503229677,
                           0.0000824085212738776201, -0.0000189314402474755304};
// as above, in (x - 3.5) / 2.5 on 1 .. 6
constexpr real ERFC_C[] = {0.155293655607168808,     -0.103308944577450480,   0.0666320834186317177,
                           -0.0417667781715895264,   0.0254955677270369479,   -0.0151828982715155252,
                           0.00883112590869659419,   -0.00503112628419865544, 0.00282213696619153215,
                           -0.00143924716564788383,  0.000963958391758587684, -0.000568603824186191306,
                           -0.000691297709266660160, -0.00164549794349053947, -0.000651822920690773904,
                           0.00162814127225472152,   0.00372252672151123041,  0.00370837554747362734,
                           0.00216569254637282733,   0.000714471665506160781, 0.000107841745551876583};
constexpr real ERFC_MID = 3.5, ERFC_HALF = 2.5;
#endif
constexpr real TWO_M = real(lane_int(1) << MANTISSA);   // 2^MANTISSA: from here on reals are integers
constexpr real MAGIC = TWO_M + TWO_M / 2;   // x + MAGIC rounds x to an integer, kept in the low bits
constexpr real LOG2_E = 1.44269504088896340736, SQRT_HALF = 0.70710678118654752440;

template <std::size_t N> static inline V polynomial(V x, const real (&c)[N]) {
    V y = splat(c[N - 1]);
    for (int i = (int)N - 2; i >= 0; --i) y = y * x + c[i];
    return y;
}
static inline V with_sign(V magnitude, V sign) {
    const M s = as_int(splat(real(-0.0)));
    return as_real((as_int(magnitude) & ~s) | (as_int(sign) & s));
}
// keeps NaN
static inline V clamp_to(V x, real low, real high) { return vmin(splat(high), vmax(splat(low), x)); }
// n: an integer, normal range
static inline V power_of_two(V n) { return as_real(as_int(n + (MAGIC + BIAS)) << MANTISSA); }

// p * 2^n for an integer n far beyond the normal range, rounded once.
static inline V scale_by_power(V p, V n) {
#if defined(__AVX512F__) && defined(REAL_f32)
    return (V)_mm512_scalef_ps((__m512)p, (__m512)n);
#elif defined(__AVX512F__)
    return (V)_mm512_scalef_pd((__m512d)p, (__m512d)n);
#else
    const V half = (n * real(0.5) + MAGIC) - MAGIC;
    return p * power_of_two(half) * power_of_two(n - half);
#endif
}

// x = n ln 2 + r with |r| <= ln(2) / 2; e^r = 1 + m, accurate near 0.
struct ExpParts { V n, m; };
static inline ExpParts exp_parts(V x, V tail) {
    const V n = (x * LOG2_E + MAGIC) - MAGIC;
    const V r = (x - n * LN2_HI) - n * LN2_LO + tail;
    return {n, r + r * r * polynomial(r, EXP_C)};
}

// e^(x + tail), |tail| much less than 1
static inline V vexp(V x, V tail = V{}) {
    const ExpParts e = exp_parts(clamp_to(x, EXP_LOW, EXP_HIGH), tail);
    return scale_by_power(1 + e.m, e.n);
}

// e^x - 1
static inline V vexpm1(V x) {
    const ExpParts e = exp_parts(clamp_to(x, EXPM1_LOW, EXP_HIGH), V{});
    const V s = power_of_two(e.n - 1);   // half of 2^n, which may overflow
    const V y = e.n == 0 ? e.m : 2 * (s * e.m + (s - real(0.5)));
    return vabs(x) < MIN_NORMAL ? x : y;
}

// x = m 2^e with m in [sqrt(1/2), sqrt(2)), for x > 0
struct Split { V m, e; };
static inline Split split(V x) {
    const M subnormal = x < MIN_NORMAL;
    x = subnormal ? x * (4 * TWO_M) : x;
    const U bias = U{} + ((lane_uint)BIAS << MANTISSA), bits = (U)x;
    const U biased = (bits - (U)splat(SQRT_HALF) + bias) >> MANTISSA;
    const V e = as_real((M)(biased | (U)splat(TWO_M))) - (TWO_M + BIAS);
    return {as_real((M)(bits - (biased << MANTISSA) + bias)), subnormal ? e - (MANTISSA + 2) : e};
}

// `y` where x is positive and finite, else what log(x) is there.
static inline V log_special(V x, V y) {
    const V outside = x == 0 ? splat(-INF) : x == INF ? splat(INF) : splat(NOT_A_NUMBER);
    return ((x > 0) & (x < INF)) ? y : outside;
}

static inline V vlog(V x) {
    const Split p = split(x);
    const V f = p.m - 1, s = f / (2 + f), z = s * s, h = f * f * real(0.5);
    const V rest = z * (real(2. / 3) + z * polynomial(z, LOG_C));
    return log_special(x, p.e * LN2_HI - ((h - (s * (h + rest) + p.e * LN2_LO)) - f));
}

// log(1 + x): what 1 + x loses in rounding comes back as a correction of first order.
static inline V vlog1p(V x) {
    const V u = 1 + x, lost = (x - (u - 1)) / u;
    const V y = vlog(u) + (((u > 0) & (u < INF)) ? lost : V{});
    return u == 1 ? x : y;
}

static inline V vtanh(V x) {
    const V a = vmin(splat(TANH_ONE), vabs(x)), a2 = a * a;
    const V small = a + a * a2 * polynomial(a2, TANH_C);
    const V large = 1 - 2 / (vexp(2 * a) + 1);
    return with_sign(a < real(0.5625) ? small : large, x);
}

// 1 / (1 + e^-x) = s / (s + e^r) with s = 2^n and e^-x = e^r / s: s + 1 is exact where it matters, so
// that s + e^r is rounded once
static inline V vsigmoid(V x) {
    const V c = clamp_to(x, EXP_LOW, SIGMOID_ONE), n = (c * LOG2_E + MAGIC) - MAGIC;
    const V r = (n * LN2_HI - c) + n * LN2_LO, s = scale_by_power(splat(1), n);
    return s / ((s + 1) + (r + r * r * polynomial(r, EXP_C)));
}

static inline V verf(V x) {
    const V a = vmin(splat(ERF_ONE), vabs(x)), x2 = a * a;
    const V small = x + x * polynomial(x2, ERF_C);
    const V large = 1 - vexp(-x2) * polynomial((a - ERFC_MID) * (1 / ERFC_HALF), ERFC_C);
    return a < 1 ? small : with_sign(large, x);
}

// ---- pow carries log(x) as a sum hi + lo, since y log(x) multiplies its error by up to 709

struct Two { V hi, lo; };
// Stops the compiler from contracting a product that is also used rounded.
static inline V rounded(V v) {
#if defined(__AVX512F__)
    asm("" : "+v"(v));
#elif defined(__x86_64__)
    asm("" : "+x"(v));
#else
    asm("" : "+w"(v));
#endif
    return v;
}
// a * b = hi + lo exactly
static inline Two product(V a, V b) {
    const V p = rounded(a * b);
#if defined(__AVX512F__) && defined(REAL_f32)
    return {p, (V)_mm512_fmsub_ps((__m512)a, (__m512)b, (__m512)p)};
#elif defined(__AVX512F__)
    return {p, (V)_mm512_fmsub_pd((__m512d)a, (__m512d)b, (__m512d)p)};
#elif defined(__FMA__) && defined(REAL_f32)
    return {p, (V)_mm256_fmsub_ps((__m256)a, (__m256)b, (__m256)p)};
#elif defined(__FMA__)
    return {p, (V)_mm256_fmsub_pd((__m256d)a, (__m256d)b, (__m256d)p)};
#else   // Dekker (1971): halves of a and b multiply exactly
    const V ca = rounded(a * DEKKER), cb = rounded(b * DEKKER);
    const V ah = ca - (ca - a), bh = cb - (cb - b), al = a - ah, bl = b - bh;
    return {p, ((rounded(ah * bh) - p) + rounded(ah * bl) + rounded(al * bh)) + rounded(al * bl)};
#endif
}

// log(x) as hi + lo, x positive and finite
static inline Two log_two(V x) {
    constexpr real TWO_THIRDS = real(2. / 3), TWO_THIRDS_LO = real(2.L / 3 - (long double)TWO_THIRDS);
    const Split p = split(x);
    const V f = p.m - 1, d = 2 + f, d_lo = f - (d - 2), s = f / d;
    const Two sd = product(s, d);
    const V s_lo = ((f - sd.hi) - sd.lo - s * d_lo) / d;
    const Two z = product(s, s), w = product(z.hi, splat(TWO_THIRDS));
    const V w_lo = w.lo + (z.lo + 2 * s * s_lo) * TWO_THIRDS + z.hi * TWO_THIRDS_LO +
                   z.hi * z.hi * polynomial(z.hi, LOG_C);
    const V k = 2 + w.hi, k_lo = (w.hi - (k - 2)) + w_lo;
    const Two m = product(s, k);
    const V m_lo = m.lo + s * k_lo + s_lo * k;
    const V whole = rounded(p.e * LN2_HI), sum = whole + m.hi,
            lo = (m.hi - (sum - whole)) + (m_lo + p.e * LN2_LO);
    const V hi = sum + lo;
    return {hi, lo - (hi - sum)};
}

// x^y with C's special cases
static inline V vpow(V x, V y) {
    const V a = vabs(x), limited = clamp_to(y, -POW_LIMIT, POW_LIMIT);
    const Two l = log_two(a);
    const Two e = product(limited, l.hi);
    V r = vexp(e.hi, vabs(e.hi) < EXP_HIGH - EXP_LOW ? e.lo + limited * l.lo : V{});
    r = a == 0 ? (y < 0 ? splat(INF) : V{}) : r;
    r = a == INF ? (y < 0 ? V{} : splat(INF)) : r;
    const M integer = vfloor(y) == y, odd = integer & (vfloor(y * real(0.5)) * 2 != y);
    const M negative = as_int(x) < 0;   // by the sign bit: -0 too
    r = (negative & odd) ? -r : r;
    r = ((x < 0) & (a < INF) & ~integer) ? splat(NOT_A_NUMBER) : r;
    r = ((x != x) | (y != y)) ? x + y : r;
    return ((y == 0) | (x == 1)) ? splat(1) : r;
}
}  // namespace ISA::REAL_NAME
