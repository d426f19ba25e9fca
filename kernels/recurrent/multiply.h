// c[r] = (bias, or c[r] itself) + a[r] W for rows wherever they lie, W a panel [depth][WIDTH][16].
//
// An element is one chain of fused multiply-adds in the order of the depth, whatever rows it is
// computed with: so results depend neither on the batch nor on threads. The tile is 6 rows x 4
// vectors where there are 32 registers, 3 x 4 where there are 16. Few rows wait for weights and
// for the latency of an addition: they take two streams of weights at a time, neighbouring panels
// or the halves of one.
#pragma once
#include "layout.h"

namespace ISA::REAL_NAME {
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_ROWS = 6, PAIR_ROWS = 3;
#else
constexpr int TILE_ROWS = 3, PAIR_ROWS = 1;
#endif
// depth whose weights stay in the first-level cache while all rows pass
constexpr i64 DEPTH_BLOCK = 24 * 1024 / (PANEL * sizeof(real));

// The reduction: `runs` stretches of `run` values, `pitch` apart in a.
struct Depth {
    i64 runs, run, pitch;
    i64 total() const { return runs * run; }
};

template <int R, int W, int S, bool AHEAD = false>
static inline void tile(const Depth& d, i64 skip, const real* const* a, const real* w, i64 w_stream,
                        real* const* c, i64 at, i64 c_stream, const real* bias, const real* ahead = nullptr) {
    V acc[R][S][W];
    const real* row[R];
    #pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        row[r] = a[r] + skip;
        #pragma GCC unroll 2
        for (int s = 0; s < S; ++s)
            #pragma GCC unroll 4
            for (int g = 0; g < W; ++g)
                acc[r][s][g] = load((bias ? bias : c[r]) + at + s * c_stream + g * BLOCK);
    }
    for (i64 part = 0; part < d.runs; ++part) {
        for (i64 k = 0; k < d.run; ++k, w += W * BLOCK) {
            V wv[S][W];
            #pragma GCC unroll 2
            for (int s = 0; s < S; ++s)
                #pragma GCC unroll 4
                for (int g = 0; g < W; ++g) wv[s][g] = load(w + s * w_stream + g * BLOCK);
            if (AHEAD) {
                __builtin_prefetch(ahead, 0, 2);
                __builtin_prefetch(ahead + 64 / sizeof(real), 0, 2);
                ahead += 128 / sizeof(real);
            }
            #pragma GCC unroll 8
            for (int r = 0; r < R; ++r)
                #pragma GCC unroll 2
                for (int s = 0; s < S; ++s)
                    #pragma GCC unroll 4
                    for (int g = 0; g < W; ++g) acc[r][s][g] += row[r][k] * wv[s][g];
        }
        #pragma GCC unroll 8
        for (int r = 0; r < R; ++r) row[r] += d.pitch;
    }
    #pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
        #pragma GCC unroll 2
        for (int s = 0; s < S; ++s)
            #pragma GCC unroll 4
            for (int g = 0; g < W; ++g) store(c[r] + at + s * c_stream + g * BLOCK, acc[r][s][g]);
}

// The tile of `rows` rows, two streams at a time where that pays
template <int W, int S, bool AHEAD>
static inline void tile(i64 rows, const Depth& d, i64 skip, const real* const* a, const real* w, i64 w_stream,
                        real* const* c, i64 at, i64 c_stream, const real* bias, const real* ahead) {
    if (rows == 1) return tile<1, W, S, AHEAD>(d, skip, a, w, w_stream, c, at, c_stream, bias, ahead);
    if constexpr (S == 1 || PAIR_ROWS > 1) {
        if (rows == 2) return tile<2, W, S, AHEAD>(d, skip, a, w, w_stream, c, at, c_stream, bias, ahead);
        if (rows == 3) return tile<3, W, S, AHEAD>(d, skip, a, w, w_stream, c, at, c_stream, bias, ahead);
    }
    if constexpr (S == 1 && TILE_ROWS > 3) {
        if (rows == 4) tile<4, W, 1, AHEAD>(d, skip, a, w, w_stream, c, at, c_stream, bias, ahead);
        if (rows == 5) tile<5, W, 1, AHEAD>(d, skip, a, w, w_stream, c, at, c_stream, bias, ahead);
        if (rows == 6) tile<6, W, 1, AHEAD>(d, skip, a, w, w_stream, c, at, c_stream, bias, ahead);
    }
}

// Panels [p, p + count): weights panel_size apart, results PANEL apart from c + at on. Where there
// are several tiles of rows, they take a piece of the depth one after the other while its weights
// are in the first-level cache; the chain of an element goes on where it stopped. The first two
// fetch the next piece, which no hardware would expect so long before it is read.
template <int W>
static inline void multiply_panels(i64 rows, const Depth& d, const real* const* a, const real* w,
                                   i64 panel_size, i64 count, real* const* c, i64 at, const real* bias) {
    // pieces are of whole units
    const i64 tiles = blocks_of(rows, TILE_ROWS), units = d.runs == 1 ? d.run : d.runs,
              each = d.runs == 1 ? 1 : d.run;
    const i64 pieces = tiles == 1 ? 1 : blocks_of(units * each, DEPTH_BLOCK);
    for (i64 p = 0; p < count; ++p)
        for (i64 piece = 0; piece < pieces; ++piece) {
            const i64 begin = units * piece / pieces, n_units = units * (piece + 1) / pieces - begin,
                      skip = d.runs == 1 ? begin : begin * d.pitch;
            const Depth part = d.runs == 1 ? Depth{1, n_units, d.pitch} : Depth{n_units, d.run, d.pitch};
            const real* from = w + p * panel_size + begin * each * W * BLOCK;
            const real* start = piece ? nullptr : bias;
            const i64   to = at + p * PANEL;
            for (i64 t = 0; t < tiles; ++t) {
                const i64 r = rows * t / tiles, n = rows * (t + 1) / tiles - r;
                if (BLOCK_VECTORS == 1 && n <= PAIR_ROWS && tiles == 1 && p + 1 < count) {
                    tile<W, 2, false>(n, part, skip, a + r, from, panel_size, c + r, to, PANEL, start,
                                      nullptr);
                    ++p;
                } else if (BLOCK_VECTORS > 1 && n <= PAIR_ROWS) {
                    for (int v = 0; v < BLOCK; v += 2 * LANES)
                        tile<W, 2, false>(n, part, skip, a + r, from + v, LANES, c + r, to + v, LANES, start,
                                          nullptr);
                } else if (BLOCK_VECTORS == 1 && tiles > 1 && t < 2) {
                    tile<W, 1, true>(n, part, skip, a + r, from, 0, c + r, to, 0, start,
                                     from + (W * BLOCK + t * (64 / (int)sizeof(real)) * 2) * part.total());
                } else {
                    for (int v = 0; v < BLOCK; v += LANES)
                        tile<W, 1, false>(n, part, skip, a + r, from + v, 0, c + r, to + v, 0, start,
                                          nullptr);
                }
            }
        }
}

static void multiply(int width, i64 rows, const Depth& d, const real* const* a, const real* w, i64 panel_size,
                     i64 count, real* const* c, i64 at, const real* bias) {
    if (rows == 0) return;
    if (width == 3) multiply_panels<3>(rows, d, a, w, panel_size, count, c, at, bias);
    else multiply_panels<4>(rows, d, a, w, panel_size, count, c, at, bias);
}
}  // namespace ISA::REAL_NAME
