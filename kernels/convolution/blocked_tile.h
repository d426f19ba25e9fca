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

template <int P, int Q, int STEP, bool FETCH = false>
static void convolve_tile(const real* x, const real* w, const Reduction& r, const Target& t,
                          const Epilogue& e, const Ahead& ahead = {}) {
    constexpr int N = Q * BV;
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
template <int STEP> static inline TileFunction tile_of(int pixels, int q, const Ahead& ahead) {
    return STEP > 1 && ahead.any() ? tile_of<STEP, STEP != 1>(pixels, q) : tile_of<STEP, false>(pixels, q);
}

// A row of `length` pixels in tiles as equal as can be, and Q such that the fewest cycles are lost to loads
// and to sums that wait for themselves. A multiply-add is the unit, and a load is taken to cost as much.
struct Tiling { int q; i64 tiles; };
static inline Tiling tiling(i64 length, i64 blocks) {
    constexpr double LATENCY = 8, TILE = 0.7;   // TILE: what one costs beside its sums
    Tiling best{1, 1};
    double least = 1e300;
    for (int q = 1; q <= MAX_Q && q <= blocks; ++q) {
        const i64 tiles = (length + most_pixels(q) - 1) / most_pixels(q);
        double cost = 0;
        for (i64 left = blocks; left > 0; left -= q) {
            const double n = left < q ? left : q, pixels = double(length) / tiles;
            const double multiply = pixels * n * BV, loads = pixels + n * BV;
            double longest = multiply > loads ? multiply : loads;
            if (longest < LATENCY) longest = LATENCY;
            cost += tiles * (longest + 0.02 * loads + TILE);
        }
        if (cost < least) least = cost, best = {q, tiles};
    }
    return best;
}
END_KERNELS
