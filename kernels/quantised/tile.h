// The register tile of products of bytes: P rows of bytes (pixels, or rows of a matrix) x Q blocks
// of 16 filters, summed as int32. Four channels of a row are multiplied by four of each filter at
// once; sums of up to 65,000 products of a uint8 and an int8 are exact, so that nothing depends on
// the order.
//
// With AVX-512 VNNI that is one instruction, four times as many products as float32 has. It is no
// instruction set of its own (csrc/isas.inc), which would compile every kernel once more for this
// one: the tile asks the CPU. Elsewhere plain loops give the same numbers, slowly; programs are
// compiled to use floats there (pyops/graph/passes/whole_products.py).
#pragma once
#include "blocked/epilogue.h"

BEGIN_KERNELS
using u8 = std::uint8_t;
using s8 = std::int8_t;
using i32 = std::int32_t;
constexpr int FOUR = 4, PACK = BLOCK * BLOCK;   // channels at a time; weights of a block and tap
typedef u8 Bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef i32 Whole32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

static inline M load_whole(const i32* p) { return (M) * (const Whole32*)p; }
// Bytes as real numbers, by intrinsics: compilers take a vector of bytes apart to widen it.
static inline V load_bytes(const u8* p) {
#if defined(__AVX512F__)
    return (V)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)));
#elif defined(__AVX2__)
    return (V)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)));
#else
    V v;
    for (int i = 0; i < LANES; ++i) v[i] = real(p[i]);
    return v;
#endif
}

// The reduction: block b and tap t read x + b * x_block + taps[t] and weights from b * w_block +
// t * PACK of each filter block; `groups`: fours of channels of the last block.
struct ByteReduction {
    const i64* taps;
    i64 count, blocks, groups, x_block, w_block, w_filter;
};

// What becomes of sums. Numbers of filters are those of the tile's first block; `to`: the zero point
// of bytes, limits are less it.
struct Numbers {
    const i32*  start;
    const real *factor, *shift;   // shift may be null
    // offset times what a row sees, the sum of its bytes, is added to its sums; null: nothing is
    const i32 *offset, *seen;
};
struct ToBytes {
    using Out = u8;
    real low, high;
    i32  to;
    // `count` lanes
    void put(M sum, V factor, V shift, u8* y, int count) const {
        V v = __builtin_convertvector(sum, V) * factor + shift;
        v = vmin(splat(high), vmax(v, splat(low)));   // NaN is the least
        const Bytes bytes = __builtin_convertvector(__builtin_convertvector(vround(v), M) + to, Bytes);
        if (count == LANES) *(Bytes*)y = bytes;
        else std::memcpy(y, &bytes, (std::size_t)count);
    }
    void finish(u8*, i64) const {}
};
struct ToReals {
    using Out = real;
    Epilogue e;
    void put(M sum, V factor, V shift, real* y, int count) const {
        const V v = Clamp(e)(__builtin_convertvector(sum, V) * factor + shift);
        if (count == LANES) store(y, v);
        else store(y, v, count);
    }
    void finish(real* y, i64 n) const { e.finish(y, n); }
};

// Pixels lie x_step and y_step values apart, filter blocks y_block; `filters` of them there are.
struct ByteTarget { i64 x_step, y_step, y_block, filters; };

#if defined(__AVX512F__)
constexpr int BYTES_Q = 4;
constexpr int most_rows(int q) { return q == 4 ? 6 : q == 3 ? 9 : 14; }

// sums: P x Q x 16
template <int P, int Q>
[[gnu::target("avx512vnni")]] static void vnni_tile(const u8* x, i64 x_step, const s8* w,
                                                    const ByteReduction& r, const i32* start, i32* sums) {
    __m512i acc[P][Q];
    #pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
        const __m512i first = _mm512_loadu_si512(start + q * BLOCK);
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[p][q] = first;
    }
    for (i64 b = 0; b < r.blocks; ++b, x += r.x_block, w += r.w_block) {
        const i64 groups = b + 1 < r.blocks ? BLOCK / FOUR : r.groups;
        for (i64 k = 0; k < r.count; ++k) {
            const u8* xs = x + r.taps[k];
            const s8* ws = w + k * PACK;
            for (i64 g = 0; g < groups; ++g, xs += FOUR, ws += FOUR * BLOCK) {
                __m512i wv[Q];
                #pragma GCC unroll 4
                for (int q = 0; q < Q; ++q) wv[q] = _mm512_loadu_si512(ws + q * r.w_filter);
                #pragma GCC unroll 16
                for (int p = 0; p < P; ++p) {
                    i32 four;
                    std::memcpy(&four, xs + p * x_step, FOUR);
                    const __m512i xv = _mm512_set1_epi32(four);
                    #pragma GCC unroll 4
                    for (int q = 0; q < Q; ++q) acc[p][q] = _mm512_dpbusd_epi32(acc[p][q], xv, wv[q]);
                }
            }
        }
    }
    #pragma GCC unroll 16
    for (int p = 0; p < P; ++p)
        #pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) _mm512_storeu_si512(sums + (p * Q + q) * BLOCK, acc[p][q]);
}

using ByteTile = void (*)(const u8*, i64, const s8*, const ByteReduction&, const i32*, i32*);
template <int Q, int... P> static ByteTile vnni_tile_of(int rows, std::integer_sequence<int, P...>) {
    static constexpr ByteTile table[] = {vnni_tile<P + 1, Q>...};
    return table[rows - 1];
}
static inline ByteTile vnni_tile_of(int rows, int q) {
    if (q == 4) return vnni_tile_of<4>(rows, std::make_integer_sequence<int, most_rows(4)>{});
    if (q == 3) return vnni_tile_of<3>(rows, std::make_integer_sequence<int, most_rows(3)>{});
    if (q == 2) return vnni_tile_of<2>(rows, std::make_integer_sequence<int, most_rows(2)>{});
    return vnni_tile_of<1>(rows, std::make_integer_sequence<int, most_rows(1)>{});
}
static inline bool has_vnni() {
    static const bool has = __builtin_cpu_supports("avx512vnni");
    return has;
}
#else
constexpr int BYTES_Q = 1;
constexpr int most_rows(int) { return 4; }
#endif

// One row of bytes x one block of filters, by plain loops
static inline void plain_tile(const u8* x, const s8* w, const ByteReduction& r, const i32* start, i32* sums) {
    std::uint32_t acc[BLOCK];   // wraps where a forged program has more products than fit
    for (int k = 0; k < BLOCK; ++k) acc[k] = (std::uint32_t)start[k];
    for (i64 b = 0; b < r.blocks; ++b, x += r.x_block, w += r.w_block) {
        const i64 groups = b + 1 < r.blocks ? BLOCK / FOUR : r.groups;
        for (i64 tap = 0; tap < r.count; ++tap)
            for (i64 g = 0; g < groups; ++g) {
                const u8* xs = x + r.taps[tap] + g * FOUR;
                const s8* ws = w + tap * PACK + g * FOUR * BLOCK;
                for (int k = 0; k < BLOCK; ++k)
                    for (int c = 0; c < FOUR; ++c) acc[k] += (std::uint32_t)(xs[c] * ws[k * FOUR + c]);
            }
    }
    for (int k = 0; k < BLOCK; ++k) sums[k] = (i32)acc[k];
}

// Sums of `rows` rows x `blocks` blocks of filters
static inline void sum_tile(int rows, int blocks, const u8* x, i64 x_step, const s8* w,
                            const ByteReduction& r, const i32* start, i32* sums) {
#if defined(__AVX512F__)
    if (has_vnni()) return vnni_tile_of(rows, blocks)(x, x_step, w, r, start, sums);
#endif
    for (int p = 0; p < rows; ++p)
        for (int q = 0; q < blocks; ++q)
            plain_tile(x + p * x_step, w + q * r.w_filter, r, start + q * BLOCK, sums + (p * blocks + q) * BLOCK);
}

constexpr int MOST_SUMS = 28 * BLOCK;

template <class To>
static void tile_of_bytes(int rows, int blocks, const u8* x, const s8* w, const ByteReduction& r,
                          const Numbers& n, const ByteTarget& t, typename To::Out* y, const To& to) {
    alignas(64) i32 sums[MOST_SUMS];
    sum_tile(rows, blocks, x, t.x_step, w, r, n.start, sums);
    for (int at = 0; at < blocks * BLOCK && at < t.filters; at += LANES) {
        const V factor = load(n.factor + at), shift = n.shift ? load(n.shift + at) : V{};
        typename To::Out* place = y + at / BLOCK * t.y_block + at % BLOCK;
        const i64 left = t.filters - at;
        const M offset = n.offset ? load_whole(n.offset + at) : M{};
        for (int p = 0; p < rows; ++p, place += t.y_step) {
            M sum = load_whole(sums + p * blocks * BLOCK + at);
            if (n.offset) sum += offset * n.seen[p];
            to.put(sum, factor, shift, place, left < LANES ? (int)left : LANES);
        }
    }
}

// `length` rows in tiles as equal as can be, and Q such that the fewest cycles are lost to loads
struct ByteTiling { int q; i64 tiles; };
static inline ByteTiling byte_tiling(i64 length, i64 blocks) {
    ByteTiling best{1, 1};
    double least = 1e300;
    for (int q = 1; q <= BYTES_Q && q <= blocks; ++q) {
        const i64 tiles = (length + most_rows(q) - 1) / most_rows(q);
        double cost = 0;
        for (i64 left = blocks; left > 0; left -= q) {
            const double n = left < q ? left : q, rows = double(length) / tiles;
            const double multiply = rows * n, loads = rows + n;
            cost += tiles * ((multiply > loads ? multiply + 0.2 * loads : loads + 0.2 * multiply) +
                             (multiply < 8 ? 8 - multiply : 0));
        }
        if (cost < least) least = cost, best = {q, tiles};
    }
    return best;
}
END_KERNELS
