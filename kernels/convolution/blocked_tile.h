// The register tile of convolutions in blocked layout: P neighbouring output pixels x Q blocks of
// 16 filters stay in registers while the whole reduction runs over them. An input value is
// broadcast from memory, weights are whole vectors.
//
// An output is one chain of multiply-adds from the bias in the order (channel block, tap,
// channel), whatever tile it falls into; so results depend neither on where tiles fall
// nor on threads or batch.
//
// Registers: AVX-512 has 32: 14 x 2, 9 x 3 or 6 x 4 accumulators beside the weights and
// the broadcast (7 x 4 would leave none for that: every multiply-add would read memory).
// With 16 registers a block of filters is two vectors (AVX2) and 6 x 1 fit; with SSE four, and
// 2 x 1.
#pragma once
#include "blocked/epilogue.h"

BEGIN_KERNELS
#if defined(__AVX512F__)
constexpr int MAX_Q = 4, MAX_P = 14;
constexpr int most_pixels(int q) { return q == 4 ? 6 : q == 3 ? 9 : 14; }
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int MAX_Q = 1, MAX_P = 6;
constexpr int most_pixels(int) { return 6; }
constexpr int PIXELS_OF_HALF = 12;   // of a block of which one vector is empty
#else
constexpr int MAX_Q = 1, MAX_P = 2;
constexpr int most_pixels(int) { return 2; }
#endif

// A tap as the tile sees it: how far its input lies from the tile's first pixel, and its weights
// from those of the channel block.
struct TileTap { i64 input, weight; };

// The reduction of one tile. Input value of channel c of block b for pixel p and tap t: x[b *
// x_block + t.input + p * STEP + c]. Weights of filter block q: w[q * w_filter + b * w_block +
// t.weight + c * 16 ...].
struct Reduction {
    const TileTap* taps;
    i64 count;             // of taps
    i64 channels;          // altogether; a block has BLOCK of them, the last one the rest
    i64 x_block, w_block, w_filter;
};

// Where the tile goes. Pixels are `step` values apart, filter blocks `block`. Bias and residual may be null.
struct Target {
    real*       y;
    const real* residual;
    i64         step, block, residual_block;
    const real* bias;
};

// What a tile fetches while it multiplies: of a map that outgrows the nearer caches the pixels that later
// tiles read, `lines` of each block of channels from `x` on (none where it is null), and those that it will
// write (`y`). As many tiles as have the same pixels take turns. The lines are spread evenly over the
// channels, as close together they would hold up the tile's own: a step, a tap of a block of channels,
// fetches 16 >> shift of them. Tiles of small registers, whose channels have too few multiply-adds for that,
// fetch them before the step.
constexpr int  TILE_LINES  = BV > 1 ? 8 : BLOCK;   // of a block of results; a power of two
constexpr bool FETCH_FIRST = BV > 1;
struct Ahead {
    const real* x = nullptr;
    i64  x_block = 0, lines = 0, turn = 0, turns = 1;
    bool y = false;
    int  x_shift = 0, y_shift = 0;
    bool any() const { return x || y; }
    // so many lines in so many steps
    static int shift(i64 lines, i64 steps) {
        int found = 4;
        while (found && (16 >> found) * steps < lines) --found;
        return found;
    }
};

// Of one step, where these lines begin; what there is nothing of is read where the tile reads anyway.
struct Lines {
    const real *x, *y, *residual;
    int x_shift, y_shift;

    Lines(const Ahead& a, const Reduction& r, const Target& t, int q, const real* here, i64 block, i64 tap)
        : x(here), y(here), residual(here), x_shift(a.x_shift), y_shift(a.y_shift) {
        const i64 part = (a.turn * r.count + tap) * (BLOCK >> x_shift),
                  line = (block * r.count + tap) * (BLOCK >> y_shift);
        if (a.x && part < a.lines) x = a.x + block * a.x_block + part * BLOCK;
        if (!a.y || line >= q * TILE_LINES) return;
        y = t.y + line / TILE_LINES * t.block + line % TILE_LINES * BLOCK;
        if (t.residual)
            residual = t.residual + line / TILE_LINES * t.residual_block + line % TILE_LINES * BLOCK;
    }

    void fetch_all(const real* here) const {
        if (x != here)
            for (int i = 0; i < 16 >> x_shift; ++i) __builtin_prefetch(x + i * BLOCK, 0, 2);
        if (y != here)
            for (int i = 0; i < 16 >> y_shift; ++i) __builtin_prefetch(y + i * BLOCK, 1);
        if (residual != here)
            for (int i = 0; i < 16 >> y_shift; ++i) __builtin_prefetch(residual + i * BLOCK);
    }

    void fetch(i64 channel) const {
        __builtin_prefetch(x + (channel >> x_shift) * BLOCK, 0, 2);   // for other tiles: into the second-level cache
        __builtin_prefetch(y + (channel >> y_shift) * BLOCK, 1);
        __builtin_prefetch(residual + (channel >> y_shift) * BLOCK);
    }
};

// The same where the last block has 8 filters at most: its vector has those of two neighbouring pixels, for half as
// many multiply-adds. The lanes without filters become those of the other pixel.
#if defined(__AVX512F__)
static inline V twice(const real* half) { return (V)_mm512_broadcast_f32x8(_mm256_loadu_ps(half)); }
static inline V of_two(V a, V b) { return (V)_mm512_mask_blend_ps(0xff00, (__m512)a, (__m512)b); }
static inline V other_half_first(V a) { return (V)_mm512_shuffle_f32x4((__m512)a, (__m512)a, 0x4e); }

template <int P, int Q, int STEP>
static void convolve_half_tile(const real* x, const real* w, const Reduction& r, const Target& t, const Epilogue& e,
                               const Ahead& ahead) {
    constexpr int N = Q - 1, PAIRS = (P + 1) / 2;
    V acc[P][N], two[PAIRS];
    #pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
        const V start = t.bias ? load(t.bias + v * LANES) : V{};
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[p][v] = start;
    }
    const V start = t.bias ? twice(t.bias + N * LANES) : V{};
    #pragma GCC unroll 16
    for (int i = 0; i < PAIRS; ++i) two[i] = start;
    for (i64 c0 = 0; c0 < r.channels; c0 += BLOCK, x += r.x_block, w += r.w_block) {
        const i64 depth = r.channels - c0 < BLOCK ? r.channels - c0 : BLOCK;
        for (i64 k = 0; k < r.count; ++k) {
            const real *xs = x + r.taps[k].input, *ws = w + r.taps[k].weight;
            const Lines lines(ahead, r, t, Q, xs, c0 / BLOCK, k);
            for (i64 c = 0; c < depth; ++c, ++xs, ws += BLOCK) {
                lines.fetch(c);
                V wv[N];
                #pragma GCC unroll 8
                for (int v = 0; v < N; ++v) wv[v] = load(ws + v * r.w_filter);
                const V wh = twice(ws + N * r.w_filter);
                #pragma GCC unroll 16
                for (int i = 0; i < PAIRS; ++i) {
                    const int second = 2 * i + 1 < P ? 2 * i + 1 : 2 * i;
                    const V   a = splat(xs[2 * i * STEP]), b = splat(xs[second * STEP]);
                    #pragma GCC unroll 8
                    for (int v = 0; v < N; ++v) acc[2 * i][v] += a * wv[v];
                    if (second > 2 * i)
                        #pragma GCC unroll 8
                        for (int v = 0; v < N; ++v) acc[second][v] += b * wv[v];
                    two[i] += of_two(a, b) * wh;
                }
            }
        }
    }
    const Clamp clamp(e);
    const i64 step = t.step, block = t.block, residual_block = t.residual_block;
    real* const first = t.y;
    const real* const residual = t.residual;
    #pragma GCC unroll 8
    for (int v = 0; v < Q; ++v) {
        real* y = first + v * block;
        const real* add = residual ? residual + v * residual_block : nullptr;
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
            V sum = v < N ? acc[p][v < N ? v : 0] : p % 2 ? other_half_first(two[p / 2]) : two[p / 2];
            if (add) sum += load(add + p * step);
            store(y + p * step, clamp(sum));
        }
    }
    if (e.kind == Activation::CLAMP) return;
    for (int q = 0; q < Q; ++q) {
        real* y = t.y + q * t.block;
        if (t.step == BLOCK) e.finish(y, P * BLOCK);
        else
            for (int p = 0; p < P; ++p) e.finish(y + p * t.step, BLOCK);
    }
}
#endif

// EMPTY: vectors at the end without filters, which become zeros
template <int P, int Q, int STEP, bool FETCH = false, int EMPTY = 0>
static void convolve_tile(const real* x, const real* w, const Reduction& r, const Target& t,
                          const Epilogue& e, const Ahead& ahead = {}) {
    constexpr int N = Q * BV - EMPTY;
    V acc[P][N];
    #pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
        const V start = t.bias ? load(t.bias + v * LANES) : V{};
        #pragma GCC unroll 16
        for (int p = 0; p < P; ++p) acc[p][v] = start;
    }
    constexpr int DEPTH = STEP == 1 ? 1 : BLOCK;   // a planar input has its channels among the taps
    for (i64 c0 = 0; c0 < r.channels; c0 += DEPTH, x += r.x_block, w += r.w_block) {
        const i64 depth = r.channels - c0 < DEPTH ? r.channels - c0 : DEPTH;
        for (i64 k = 0; k < r.count; ++k) {
            const real *xs = x + r.taps[k].input, *ws = w + r.taps[k].weight;
            const Lines lines(ahead, r, t, Q, xs, c0 / BLOCK, k);
            if constexpr (FETCH && FETCH_FIRST) lines.fetch_all(xs);
            for (i64 c = 0; c < depth; ++c, ++xs, ws += BLOCK) {
                if constexpr (FETCH && !FETCH_FIRST) lines.fetch(c);
                V wv[N];
                #pragma GCC unroll 8
                for (int v = 0; v < N; ++v) wv[v] = load(ws + v / BV * r.w_filter + v % BV * LANES);
                #pragma GCC unroll 16
                for (int p = 0; p < P; ++p)
                    #pragma GCC unroll 8
                    for (int v = 0; v < N; ++v) acc[p][v] += xs[p * STEP] * wv[v];
            }
        }
    }
    const Clamp clamp(e);
    const i64 step = t.step, block = t.block, residual_block = t.residual_block;
    real* const first = t.y;
    const real* const residual = t.residual;
    #pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
        real* y = first + v / BV * block + v % BV * LANES;
        if (residual) {
            const real* add = residual + v / BV * residual_block + v % BV * LANES;
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p) store(y + p * step, clamp(acc[p][v] + load(add + p * step)));
        } else {
            #pragma GCC unroll 16
            for (int p = 0; p < P; ++p) store(y + p * step, clamp(acc[p][v]));
        }
    }
    if constexpr (EMPTY > 0)
        for (int v = N; v < Q * BV; ++v)
            for (int p = 0; p < P; ++p) store(t.y + v / BV * t.block + v % BV * LANES + p * t.step, V{});
    if (e.kind == Activation::CLAMP) return;
    for (int q = 0; q < Q; ++q) {
        real* y = t.y + q * t.block;
        if (t.step == BLOCK) e.finish(y, P * BLOCK);
        else
            for (int p = 0; p < P; ++p) e.finish(y + p * t.step, BLOCK);
    }
}

using TileFunction = void (*)(const real*, const real*, const Reduction&, const Target&, const Epilogue&,
                              const Ahead&);
template <int Q, int STEP, bool FETCH, int... P>
static TileFunction tile_of(int pixels, std::integer_sequence<int, P...>) {
    static constexpr TileFunction table[] = {convolve_tile<P + 1, Q, STEP, FETCH>...};
    return table[pixels - 1];
}
template <int STEP, bool FETCH> static inline TileFunction tile_of(int pixels, [[maybe_unused]] int q) {
#if defined(__AVX512F__)
    if (q == 4) return tile_of<4, STEP, FETCH>(pixels, std::make_integer_sequence<int, most_pixels(4)>{});
    if (q == 3) return tile_of<3, STEP, FETCH>(pixels, std::make_integer_sequence<int, most_pixels(3)>{});
    if (q == 2) return tile_of<2, STEP, FETCH>(pixels, std::make_integer_sequence<int, most_pixels(2)>{});
#endif
    return tile_of<1, STEP, FETCH>(pixels, std::make_integer_sequence<int, most_pixels(1)>{});
}
// Half a block's, of the pixels that rows are cut into which have more than one tile, to keep code small; what there
// is nothing of to fetch costs them no time.
#if defined(__AVX512F__)
constexpr int least_pixels_of_half(int q) { return q == 4 ? 3 : q == 3 ? 5 : 7; }
template <int Q, int STEP, int... P> static TileFunction half_tile_of(int pixels, std::integer_sequence<int, P...>) {
    constexpr int LEAST = least_pixels_of_half(Q);
    static constexpr TileFunction table[] = {convolve_half_tile<P + LEAST, Q, STEP>...};
    return table[pixels - LEAST];
}
template <int Q> using PixelsOfHalf = std::make_integer_sequence<int, most_pixels(Q) - least_pixels_of_half(Q) + 1>;
template <int STEP> static inline TileFunction half_tile_of(int pixels, int q) {
    if (q == 4) return half_tile_of<4, STEP>(pixels, PixelsOfHalf<4>{});
    if (q == 3) return half_tile_of<3, STEP>(pixels, PixelsOfHalf<3>{});
    return half_tile_of<2, STEP>(pixels, PixelsOfHalf<2>{});
}
// A block alone is bound by the broadcasts of its pixels
static inline bool has_half_tile(i64 q) { return q > 1; }
static inline i64 half_tiles(i64, i64 tiles) { return tiles; }
#elif defined(__AVX2__)
constexpr int least_pixels_of_half(int) { return most_pixels(1); }
template <int STEP, int... P> static TileFunction half_tile_of(int pixels, std::integer_sequence<int, P...>) {
    constexpr int LEAST = least_pixels_of_half(1);
    static constexpr TileFunction table[] = {convolve_tile<P + LEAST, 1, STEP, true, 1>...};
    return table[pixels - LEAST];
}
template <int STEP> static inline TileFunction half_tile_of(int pixels, int) {
    return half_tile_of<STEP>(pixels, std::make_integer_sequence<int, PIXELS_OF_HALF - least_pixels_of_half(1) + 1>{});
}
static inline bool has_half_tile(i64) { return true; }
// of a row of so many pixels, which whole blocks have in `tiles`
static inline i64 half_tiles(i64 length, i64) { return (length + PIXELS_OF_HALF - 1) / PIXELS_OF_HALF; }
#else
static inline bool has_half_tile(i64) { return false; }
static inline i64 half_tiles(i64, i64 tiles) { return tiles; }
#endif
// half: of the last block half has no filters
template <int STEP>
static inline TileFunction tile_of(int pixels, int q, const Ahead& ahead, [[maybe_unused]] bool half = false) {
#if defined(__AVX2__)   // and AVX-512
    if constexpr (STEP > 1)
        if (half && pixels >= least_pixels_of_half(q)) return half_tile_of<STEP>(pixels, q);
#endif
    return STEP > 1 && ahead.any() ? tile_of<STEP, STEP != 1>(pixels, q) : tile_of<STEP, false>(pixels, q);
}

// A row of `length` pixels in tiles as equal as can be, and Q such that the fewest cycles are lost to loads
// and to sums that wait for themselves. A multiply-add is the unit, and a load is taken to cost as much.
struct Tiling { int q; i64 tiles; };
static inline Tiling tiling(i64 length, i64 blocks, [[maybe_unused]] bool half = false) {
    constexpr double LATENCY = 8, TILE = 0.7;   // TILE: what one costs beside its sums
    Tiling best{1, 1};
    double least = 1e300;
    for (int q = 1; q <= MAX_Q && q <= blocks; ++q) {
        const i64 tiles = (length + most_pixels(q) - 1) / most_pixels(q);
        double cost = 0;
        for (i64 left = blocks; left > 0; left -= q) {
            const double n = left < q ? left : q, pixels = double(length) / tiles;
            const double empty = half && left <= q && has_half_tile(left) ? 0.5 : 0;
            const double multiply = pixels * (n - empty) * BV, loads = pixels + n * BV;
            double longest = multiply > loads ? multiply : loads;
            if (longest < LATENCY) longest = LATENCY;
            cost += tiles * (longest + 0.02 * loads + TILE);
        }
        if (cost < least) least = cost, best = {q, tiles};
    }
    return best;
}
END_KERNELS
