// GELU, x (1 + erf(x / sqrt(2))) / 2, and what it is by tanh.
//
// float32: 1 + erf(x / sqrt(2)) is 1 + z P(z^2 / 8 - 1) for |z| <= 4, z = x / sqrt(2), one polynomial
// without e^x or a division (a Chebyshev fit of degree 16, 2e-7 off), and exactly 0 or 2 from there on,
// as P(1) comes out as 1/4.
//
// A register of 16 floats is a table: where there are such, GELU is x / 2 + |x| h(|x|), h = erf / 2 or
// tanh / 2, by polynomials of degree 4 (Chebyshev fits, 5e-8 off) on 31 pieces as long as STEP, and 1/2
// behind them. Half as many instructions.
#pragma once
#include "simd_math.h"

namespace ISA::REAL_NAME {
constexpr real INV_SQRT_2 = 0.70710678118654752440;

#if defined(REAL_f32)
constexpr int  GELU_TOGETHER = VECTOR_BYTES == 64 ? 4 : 2;   // vectors; what the registers hold
constexpr real ERF_UP_TO_4[] = {0.353531003f,   -0.1765761673f,  0.131675005f,    -0.1077133641f,
                                0.09021203965f, -0.07468753308f, 0.05985599384f,  -0.04601432011f,
                                0.03321700171f, -0.02166253142f, 0.01390814595f,  -0.01008590683f,
                                0.005577363539f, -0.001076942077f, 0.0006166107487f, -0.00137281511f,
                                0.0005964250886f};
// Of N vectors side by side: a step waits for the one before it, longer than a core looks ahead
template <int N> static inline void one_and_erf(V (&x)[N]) {
    V t[N], p[N];
    #pragma GCC unroll 4
    for (int k = 0; k < N; ++k) {
        x[k] = vmax(splat(-4), vmin(splat(4), x[k] * INV_SQRT_2));   // the order of operands keeps NaN
        t[k] = x[k] * x[k] * real(0.125) - 1;
        p[k] = splat(ERF_UP_TO_4[16]);
    }
    #pragma GCC unroll 16
    for (int i = 15; i >= 0; --i)
        #pragma GCC unroll 4
        for (int k = 0; k < N; ++k) p[k] = p[k] * t[k] + ERF_UP_TO_4[i];
    #pragma GCC unroll 4
    for (int k = 0; k < N; ++k) x[k] = 1 + x[k] * p[k];
}
#else
constexpr int GELU_TOGETHER = 1;
template <int N> static inline void one_and_erf(V (&x)[N]) {
    for (int k = 0; k < N; ++k) x[k] = 1 + verf(x[k] * INV_SQRT_2);
}
#endif
static inline V one_and_erf(V x) {
    V one[1] = {x};
    one_and_erf(one);
    return one[0];
}

#if defined(REAL_f32) && defined(__AVX512F__)
// The numbers of each piece, those of u^0 first
alignas(64) constexpr real HALF_ERF[5][32] = {
    {0, 0.0694601834f, 0.136830658f, 0.200208411f, 0.258036345f, 0.309213042f, 0.35314095f,
     0.389712393f, 0.419243336f, 0.442371786f, 0.459940851f, 0.472885311f, 0.482135594f, 0.488547027f,
     0.492857188f, 0.495667547f, 0.497444868f, 0.498535067f, 0.499183655f, 0.499557912f, 0.499767363f,
     0.499881089f, 0.499940932f, 0.499971509f, 0.499986649f, 0.49999392f, 0.499997318f, 0.499998838f,
     0.499999523f, 0.499999791f, 0.499999911f, 0.5f},
    {0.0698148906f, 0.0687539726f, 0.0656670406f, 0.0608270578f, 0.0546444356f, 0.047609631f, 0.0402293876f,
     0.0329679362f, 0.0262023266f, 0.0201970357f, 0.0150985448f, 0.0109466752f, 0.00769713381f, 0.00524898712f,
     0.0034715354f, 0.00222672871f, 0.0013852003f, 0.000835713581f, 0.000488992082f, 0.000277488987f,
     0.000152717621f, 8.15139574e-05f, 4.21962905e-05f, 2.11843872e-05f, 1.03147086e-05f, 4.87076613e-06f,
     2.23067809e-06f, 9.90776698e-07f, 4.26789654e-07f, 1.78299914e-07f, 7.2241626e-08f, 0},
    {1.59264317e-07f, -0.00105279428f, -0.00201105117f, -0.00279424037f, -0.00334696868f, -0.00364510925f,
     -0.00369607215f, -0.00353374821f, -0.00320978276f, -0.00278340233f, -0.00231196382f, -0.00184383045f,
     -0.00141434872f, -0.00104487722f, -0.000744211371f, -0.00051145273f, -0.000339375052f, -0.000217547524f,
     -0.000134779126f, -8.07324832e-05f, -4.67701575e-05f, -2.62121011e-05f, -1.42150529e-05f, -7.46098976e-06f,
     -3.79072389e-06f, -1.86463035e-06f, -8.88111288e-07f, -4.09636414e-07f, -1.82992366e-07f, -7.91794577e-08f,
     -3.3187515e-08f, 0},
    {-0.000357239303f, -0.000339711958f, -0.000293751218f, -0.000224686606f, -0.000142206161f, -5.70717893e-05f,
     2.08116526e-05f, 8.39402783e-05f, 0.000128076819f, 0.000152353576f, 0.000158726383f, 0.000151025903f,
     0.000133894631f, 0.000111855741f, 8.86662674e-05f, 6.70001464e-05f, 4.84198245e-05f, 3.35455188e-05f,
     2.23198367e-05f, 1.42823274e-05f, 8.79912477e-06f, 5.22397522e-06f, 2.99090698e-06f, 1.65238157e-06f,
     8.8134675e-07f, 4.54048717e-07f, 2.26016624e-07f, 1.0874313e-07f, 5.05836191e-08f, 2.27547794e-08f,
     9.90114302e-09f, 0},
    {2.04197227e-06f, 7.96308541e-06f, 1.47413493e-05f, 1.93943088e-05f, 2.14060146e-05f, 2.0757343e-05f,
     1.78797909e-05f, 1.35142382e-05f, 8.52166249e-06f, 3.69928102e-06f, -3.54679315e-07f, -3.30541047e-06f,
     -5.0761123e-06f, -5.79137213e-06f, -5.69606982e-06f, -5.07509867e-06f, -4.19134176e-06f, -3.24928669e-06f,
     -2.38298935e-06f, -1.66185453e-06f, -1.10604049e-06f, -7.04379033e-07f, -4.30101295e-07f, -2.52198618e-07f,
     -1.42187943e-07f, -7.71560025e-08f, -4.032972e-08f, -2.03203694e-08f, -9.87517002e-09f, -4.63108574e-09f,
     -2.0966926e-09f, 0},
};
alignas(64) constexpr real HALF_TANH[5][32] = {
    {0, 0.0694584548f, 0.136817709f, 0.20016928f, 0.257957339f, 0.309088767f, 0.352979034f,
     0.389533639f, 0.419077188f, 0.442248434f, 0.459883064f, 0.472902775f, 0.482223332f, 0.48868835f,
     0.493028909f, 0.495846123f, 0.497611105f, 0.498676598f, 0.499295235f, 0.499639958f, 0.499823958f,
     0.499917775f, 0.499963403f, 0.499984533f, 0.499993801f, 0.499997646f, 0.499999166f, 0.499999702f,
     0.499999911f, 0.49999997f, 0.5f, 0.5f},
    {0.0698148906f, 0.068748869f, 0.065648742f, 0.0607931912f, 0.0545999706f, 0.047565829f, 0.040200185f,
     0.0329649746f, 0.0262306258f, 0.0202530641f, 0.015171404f, 0.0110217584f, 0.00776063371f, 0.00529151596f,
     0.00348977605f, 0.00222297874f, 0.00136545615f, 0.000807278091f, 0.000458458962f, 0.000249566394f,
     0.000129933047f, 6.45530308e-05f, 3.0533658e-05f, 1.37183333e-05f, 5.84086865e-06f, 2.35126254e-06f,
     8.92829974e-07f, 3.19065123e-07f, 1.07061801e-07f, 3.36541284e-08f, 9.88773152e-09f, 0},
    {1.62890828e-07f, -0.00105771713f, -0.00201882608f, -0.00280139968f, -0.00334986299f, -0.00364131713f,
     -0.00368546299f, -0.00351868803f, -0.00319432002f, -0.00277177151f, -0.00230708043f, -0.00184641476f,
     -0.00142296217f, -0.00105671084f, -0.000756185502f, -0.000521157286f, -0.0003455595f, -0.000220120928f,
     -0.00013446818f, -7.86199744e-05f, -4.3900458e-05f, -2.33589399e-05f, -1.18164644e-05f, -5.66976905e-06f,
     -2.57441593e-06f, -1.10362976e-06f, -4.45657378e-07f, -1.69129493e-07f, -6.01853998e-08f, -2.00370636e-08f,
     -6.22686391e-09f, 0},
    {-0.000359023397f, -0.000341101404f, -0.000294167839f, -0.000223846364f, -0.000140285963f, -5.46904303e-05f,
     2.28042245e-05f, 8.48000273e-05f, 0.000127473235f, 0.000150493346f, 0.000156238486f, 0.000148681997f,
     0.000132311266f, 0.000111309171f, 8.90722949e-05f, 6.80278754e-05f, 4.96604152e-05f, 3.46577363e-05f,
     2.31074719e-05f, 1.46992134e-05f, 8.9058376e-06f, 5.12901897e-06f, 2.80188806e-06f, 1.44867954e-06f,
     7.07354047e-07f, 3.25448752e-07f, 1.40783868e-07f, 5.71343719e-08f, 2.17056062e-08f, 7.70258435e-09f,
     2.54773536e-09f, 0},
    {2.08855067e-06f, 8.13972292e-06f, 1.50377482e-05f, 1.97071968e-05f, 2.16145127e-05f, 2.07695666e-05f,
     1.76775429e-05f, 1.31674906e-05f, 8.15936892e-06f, 3.45091985e-06f, -4.14367008e-07f, -3.18047387e-06f,
     -4.83516305e-06f, -5.52896608e-06f, -5.49229662e-06f, -4.97102701e-06f, -4.18596346e-06f, -3.31271758e-06f,
     -2.47562548e-06f, -1.75025252e-06f, -1.17085756e-06f, -7.40529799e-07f, -4.42203458e-07f, -2.48895503e-07f,
     -1.31805535e-07f, -6.55458976e-08f, -3.05500087e-08f, -1.33193323e-08f, -5.42132739e-09f, -2.05600093e-09f,
     -7.25060734e-10f, 0},
};

struct Pieces {
    static constexpr real STEP = 0.175f;
    static constexpr int  DEGREE = 4, LAST = 31;
    __m512 low[DEGREE + 1], high[DEGREE + 1];

    Pieces(const real (&numbers)[DEGREE + 1][LAST + 1]) {
        #pragma GCC unroll 5
        for (int i = 0; i <= DEGREE; ++i)
            low[i] = _mm512_load_ps(numbers[i]), high[i] = _mm512_load_ps(numbers[i] + LANES);
    }
    V operator()(V x) const {
        const V a = vabs(x), s = vmin(splat(LAST), a * (1 / STEP));   // the order of operands keeps NaN
        const V t = s + MAGIC, u = s - (t - MAGIC);                     // the last bits of t are the piece
        const __m512i piece = (__m512i)t;
        V p = (V)_mm512_permutex2var_ps(low[DEGREE], piece, high[DEGREE]);
        #pragma GCC unroll 4
        for (int i = DEGREE - 1; i >= 0; --i) p = p * u + (V)_mm512_permutex2var_ps(low[i], piece, high[i]);
        return with_sign(real(0.5) * x + a * p, x);   // a sum of two halves that cancel is +0
    }
};
// y = GELU(x), a multiple of LANES
static inline void gelu_all(const real* x, real* y, i64 n) {
    const Pieces pieces(HALF_ERF);
    #pragma GCC unroll 4
    for (i64 i = 0; i < n; i += LANES) store(y + i, pieces(load(x + i)));
}
static inline V gelu_of(V x) { return Pieces(HALF_ERF)(x); }
static inline V gelu_tanh_of(V x) { return Pieces(HALF_TANH)(x); }
#else
// y = GELU(x), a multiple of LANES. The polynomial is long: several vectors side by side hide its latency,
// and share its coefficients
static inline void gelu_all(const real* x, real* y, i64 n) {
    constexpr int N = GELU_TOGETHER;
    i64 i = 0;
    for (; i + N * LANES <= n; i += N * LANES) {
        V v[N];
        #pragma GCC unroll 4
        for (int k = 0; k < N; ++k) v[k] = load(x + i + k * LANES);
        one_and_erf(v);
        #pragma GCC unroll 4
        for (int k = 0; k < N; ++k) store(y + i + k * LANES, real(0.5) * load(x + i + k * LANES) * v[k]);
    }
    for (; i < n; i += LANES) store(y + i, real(0.5) * load(x + i) * one_and_erf(load(x + i)));
}
static inline V gelu_of(V x) { return real(0.5) * x * one_and_erf(x); }
static inline V gelu_tanh_of(V x) {
    return real(0.5) * x * (1 + vtanh(real(0.79788456080286535588) * (x + real(0.044715) * x * x * x)));
}
#endif
}  // namespace ISA::REAL_NAME
