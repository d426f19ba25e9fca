// One vector type, V, of `real` lanes, with the same operations on every instruction set.
// Arithmetic and comparisons are the compiler's vector extensions (a + b, a * b, a < b, m ? a :
// b); a * b + c contracts to a fused multiply-add where the set has one. Everything is static
// and inside namespace ISA::REAL_NAME (see kernel.h), so that objects built with different
// flags share no symbol.
//
// Width: 64 bytes on AVX-512, 32 on AVX2, 16 elsewhere. Tails run the same body with a lane count:
// load(p, n), store(p, v, n).
#pragma once
#include <cmath>
#include <cstring>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "view.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

namespace ISA::REAL_NAME {
using real = REAL;
#if defined(REAL_f32)
using lane_int = std::int32_t;
#else
using lane_int = std::int64_t;
#endif
constexpr int LANES = VECTOR_BYTES / sizeof(real);
typedef real     V __attribute__((vector_size(VECTOR_BYTES)));
typedef lane_int M __attribute__((vector_size(VECTOR_BYTES)));   // a comparison's result: all ones where true
typedef real     Unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

static inline V splat(real a) { return a - V{}; }   // not a + 0, which loses the sign of -0
static inline V load(const real* p) { return *(const Unaligned*)p; }
static inline void store(real* p, V v) { *(Unaligned*)p = v; }
static inline M as_int(V v) { return (M)v; }
static inline V as_real(M m) { return (V)m; }
static inline M lane_index() {
    M m{};
    for (int i = 0; i < LANES; ++i) m[i] = i;
    return m;
}
// lanes >= n become 0
static inline V first(V v, int n) { return as_real(as_int(v) & (lane_index() < (lane_int)n)); }

#if defined(__AVX512F__)
#if defined(REAL_f32)
static inline __mmask16 lanes_mask(int n) { return (__mmask16)((1u << n) - 1); }
static inline V load(const real* p, int n) { return (V)_mm512_maskz_loadu_ps(lanes_mask(n), p); }
static inline void store(real* p, V v, int n) { _mm512_mask_storeu_ps(p, lanes_mask(n), (__m512)v); }
static inline V vmax(V a, V b) { return (V)_mm512_max_ps((__m512)a, (__m512)b); }
static inline V vmin(V a, V b) { return (V)_mm512_min_ps((__m512)a, (__m512)b); }
static inline V vsqrt(V a) { return (V)_mm512_sqrt_ps((__m512)a); }
static inline V vround(V a) {
    return (V)_mm512_roundscale_ps((__m512)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline V vfloor(V a) {
    return (V)_mm512_roundscale_ps((__m512)a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
#else
static inline __mmask8 lanes_mask(int n) { return (__mmask8)((1u << n) - 1); }
static inline V load(const real* p, int n) { return (V)_mm512_maskz_loadu_pd(lanes_mask(n), p); }
static inline void store(real* p, V v, int n) { _mm512_mask_storeu_pd(p, lanes_mask(n), (__m512d)v); }
static inline V vmax(V a, V b) { return (V)_mm512_max_pd((__m512d)a, (__m512d)b); }
static inline V vmin(V a, V b) { return (V)_mm512_min_pd((__m512d)a, (__m512d)b); }
static inline V vsqrt(V a) { return (V)_mm512_sqrt_pd((__m512d)a); }
static inline V vround(V a) {
    return (V)_mm512_roundscale_pd((__m512d)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline V vfloor(V a) {
    return (V)_mm512_roundscale_pd((__m512d)a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
#endif
#elif defined(__AVX2__)
#if defined(REAL_f32)
static inline __m256i lanes_mask(int n) { return (__m256i)(lane_index() < (lane_int)n); }
static inline V load(const real* p, int n) { return (V)_mm256_maskload_ps(p, lanes_mask(n)); }
static inline void store(real* p, V v, int n) { _mm256_maskstore_ps(p, lanes_mask(n), (__m256)v); }
static inline V vmax(V a, V b) { return (V)_mm256_max_ps((__m256)a, (__m256)b); }
static inline V vmin(V a, V b) { return (V)_mm256_min_ps((__m256)a, (__m256)b); }
static inline V vsqrt(V a) { return (V)_mm256_sqrt_ps((__m256)a); }
static inline V vround(V a) {
    return (V)_mm256_round_ps((__m256)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline V vfloor(V a) { return (V)_mm256_floor_ps((__m256)a); }
#else
static inline __m256i lanes_mask(int n) { return (__m256i)(lane_index() < (lane_int)n); }
static inline V load(const real* p, int n) { return (V)_mm256_maskload_pd(p, lanes_mask(n)); }
static inline void store(real* p, V v, int n) { _mm256_maskstore_pd(p, lanes_mask(n), (__m256d)v); }
static inline V vmax(V a, V b) { return (V)_mm256_max_pd((__m256d)a, (__m256d)b); }
static inline V vmin(V a, V b) { return (V)_mm256_min_pd((__m256d)a, (__m256d)b); }
static inline V vsqrt(V a) { return (V)_mm256_sqrt_pd((__m256d)a); }
static inline V vround(V a) {
    return (V)_mm256_round_pd((__m256d)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline V vfloor(V a) { return (V)_mm256_floor_pd((__m256d)a); }
#endif
#else
static inline V load(const real* p, int n) {
    V v{};
    std::memcpy(&v, p, n * sizeof(real));
    return v;
}
static inline void store(real* p, V v, int n) { std::memcpy(p, &v, n * sizeof(real)); }
static inline V vmax(V a, V b) { return a > b ? a : b; }   // as maxps: the second operand where either is NaN
static inline V vmin(V a, V b) { return a < b ? a : b; }
template <class F> static inline V each_lane(V a, F f) {
    for (int i = 0; i < LANES; ++i) a[i] = f(a[i]);
    return a;
}
static inline V vsqrt(V a) { return each_lane(a, [](real x) { return std::sqrt(x); }); }
static inline V vround(V a) { return each_lane(a, [](real x) { return std::nearbyint(x); }); }
static inline V vfloor(V a) { return each_lane(a, [](real x) { return std::floor(x); }); }
#endif
static inline V vabs(V a) { return as_real(as_int(a) & ~as_int(splat(real(-0.0)))); }

// Sums the lanes as a fixed tree of halves, so that the result depends on the width alone.
static inline real hsum(V v) {
    real lane[LANES];
    std::memcpy(lane, &v, sizeof v);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    return lane[0];
}

// Lane shuffles: zip interleaves two vectors, a0 b0 a1 b1 ..., and gives the low or the high half
// of that; even_lanes takes every other lane of the two in sequence.
template <int... I> static inline V zip_low(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (I / 2 + I % 2 * LANES)...);
}
template <int... I> static inline V zip_high(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (LANES / 2 + I / 2 + I % 2 * LANES)...);
}
template <int... I> static inline V even_lanes(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (2 * I)...);
}
using EveryLane = std::make_integer_sequence<int, LANES>;
static inline V zip_low(V a, V b) { return zip_low(a, b, EveryLane{}); }
static inline V zip_high(V a, V b) { return zip_high(a, b, EveryLane{}); }
static inline V even_lanes(V a, V b) { return even_lanes(a, b, EveryLane{}); }

// R vectors of R rows become the R vectors of the interleaved sequence: lane 0 of every row, then
// lane 1 of every row, ...
template <int R> static inline void interleave(V (&rows)[R]) {
    for (int stage = 1; stage < R; stage *= 2) {
        V next[R];
        #pragma GCC unroll 32
        for (int i = 0; i < R / 2; ++i) {
            next[2 * i]     = zip_low(rows[i], rows[i + R / 2]);
            next[2 * i + 1] = zip_high(rows[i], rows[i + R / 2]);
        }
        #pragma GCC unroll 32
        for (int i = 0; i < R; ++i) rows[i] = next[i];
    }
}

// Lanes [first, last) of a vector, prepared once and used for many loads: load(p, lanes) reads p[i]
// for those lanes only, others are 0.
#if defined(__AVX512F__)
struct LaneRange { decltype(lanes_mask(0)) mask; };
static inline LaneRange lane_range(int first, int last) {
    return {(decltype(lanes_mask(0)))(((1u << last) - 1) & ~((1u << first) - 1))};
}
#if defined(REAL_f32)
static inline V load(const real* p, LaneRange r) { return (V)_mm512_maskz_loadu_ps(r.mask, p); }
#else
static inline V load(const real* p, LaneRange r) { return (V)_mm512_maskz_loadu_pd(r.mask, p); }
#endif
#elif defined(__AVX2__)
struct LaneRange { M mask; };
static inline LaneRange lane_range(int first, int last) {
    return {(lane_index() < (lane_int)last) & (lane_index() >= (lane_int)first)};
}
#if defined(REAL_f32)
static inline V load(const real* p, LaneRange r) { return (V)_mm256_maskload_ps(p, (__m256i)r.mask); }
#else
static inline V load(const real* p, LaneRange r) { return (V)_mm256_maskload_pd(p, (__m256i)r.mask); }
#endif
#else
struct LaneRange { int first, last; };
static inline LaneRange lane_range(int first, int last) { return {first, last}; }
static inline V load(const real* p, LaneRange r) {
    V v{};
    for (int i = r.first; i < r.last; ++i) v[i] = p[i];
    return v;
}
#endif

// `count` (at most LANES) values from p, p + stride, ...; reads nothing beyond the last of them.
static inline V load_strided(const real* p, i64 stride, int count) {
    if (stride == 1) return count == LANES ? load(p) : load(p, count);
    if (stride == 2) {
        const int n = 2 * count - 1;   // values spanned
        if (n >= LANES) return even_lanes(load(p), load(p + LANES, n - LANES));
        return even_lanes(load(p, n), V{});
    }
    real lane[LANES] = {};
    for (int i = 0; i < count; ++i) lane[i] = p[i * stride];
    return load(lane);
}

// Calls body(offset, lanes) over [0, n): for each whole vector, then once for what is left. `lanes`
// loads and stores with the right count; keep(v) clears its dead lanes before they enter a sum.
struct Whole {
    static constexpr int count = LANES;
    V load(const real* p) const { return REAL_NAME::load(p); }
    void store(real* p, V v) const { REAL_NAME::store(p, v); }
    V keep(V v) const { return v; }
};
struct Tail {
    int count;
    V load(const real* p) const { return REAL_NAME::load(p, count); }
    void store(real* p, V v) const { REAL_NAME::store(p, v, count); }
    V keep(V v) const { return first(v, count); }
};
template <class Body> static inline void for_vectors(i64 n, Body body) {
    i64 i = 0;
    for (; i + LANES <= n; i += LANES) body(i, Whole{});
    if (i < n) body(i, Tail{(int)(n - i)});
}
}  // namespace ISA::REAL_NAME
