// Which tiles of a map Winograd's algorithm must leave to a direct convolution.
//
// An output of a direct convolution errs by roundings of what it sees, 3 x 3 pixels (or 2 x 2). Winograd's
// transforms mix all pixels of a tile, so an output errs by c u |w| sqrt(E), u the unit roundoff, E
// the sum of squares of the tile's (m + 2)^2 pixels in all channels, and c a few units for m = 2 to
// about fifty for m = 6; where a value is much larger than its neighbours, as a mask of -1e9 or an
// outlier, that buries outputs that do not see it, and what is not finite reaches all of them. A
// direct convolution's error is about u |w| sqrt(n e), e the sum of squares of the n values that
// the output sees: the same as Winograd's, to a factor of some units, where the tile is even.
//
// So a tile is uneven, and computed directly, if its mean square is above LARGEST_SQUARE = 16 times
// that of the quietest 3 x 3 pixels that one of its outputs sees, or no finite number. Then what is
// left to Winograd's algorithm errs by at most 4 times what it errs on even tiles: among numbers
// around 1, one of more than 24 sqrt(channels) is noticed. It depends on the tile's own pixels
// alone, so neither samples nor tiles depend on each other. No tile is above 16 in any layer of
// VGG-16 with random weights, of two photographs, also with black borders (109,716 tiles), nor
// among random normal numbers, before or after a ReLU, of 16 channels and more; of 8 channels of
// which few are above 0, one in thirty is.
//
// Likewise a filter with a tap whose square is above LARGEST_TAP = 64 times the sum of
// its others' (or that is not finite): its outputs see one pixel only, and Winograd's
// algorithm is not used at all.
#pragma once
#include <limits>
#include "winograd_filters.h"
#include "winograd_tiles.h"

namespace ISA::REAL_NAME {
constexpr real LARGEST_SQUARE = 16, LARGEST_TAP = 64;
constexpr i64  FAR_BYTES = 2 << 20;   // a larger map comes from memory
constexpr real INFINITE = std::numeric_limits<real>::infinity();

// lane i becomes the sum of the lanes of v[i]
static inline __attribute__((always_inline)) V sums_of_lanes(V (&v)[LANES]) {
    #pragma GCC unroll 8
    for (int half = LANES / 2; half; half /= 2)
        #pragma GCC unroll 16
        for (int i = 0; i < half; ++i) v[i] = zip_low(v[i], v[i + half]) + zip_high(v[i], v[i + half]);
    return v[0];
}

// The sums of squares over all channels of the pixels [begin, end) of a row. Lanes beyond the last
// channel hold no values. What is read here first of a map that comes from memory is the row below, too:
// blocks of channels lie too far apart for the processor to see what comes next.
static inline void row_energies(const InMap<real>& x, i64 sample, i64 row, i64 channels, i64 begin, i64 end,
                                real* energy) {
    const bool far = x.n * x.blocks * x.plane() * (i64)sizeof(real) > FAR_BYTES;
    const i64 plane = x.plane(), blocks = (channels + BLOCK - 1) / BLOCK,
              last = channels - (blocks - 1) * BLOCK;
    for (i64 p = begin; p < end; p += LANES) {
        const int count = end - p < LANES ? (int)(end - p) : LANES;
        const real* from = x.at(sample, 0) + (row * x.w + p) * BLOCK;
        V sum[LANES] = {};
        const auto add = [&](int i, int part) {
            const V v = load(from + i * BLOCK + part);
            sum[i] += v * v;
        };
        i64 block = 0;
        for (; block < blocks - (last < BLOCK); ++block, from += plane) {
            if (far)
                for (int i = 0; i < count; ++i) __builtin_prefetch(from + (x.w + i) * BLOCK);
            if (count == LANES) {
                #pragma GCC unroll 16
                for (int i = 0; i < LANES; ++i)
                    #pragma GCC unroll 4
                    for (int part = 0; part < BLOCK; part += LANES) add(i, part);
            } else {
                #pragma GCC unroll 16
                for (int i = 0; i < LANES; ++i)
                    if (i < count)
                        #pragma GCC unroll 4
                        for (int part = 0; part < BLOCK; part += LANES) add(i, part);
            }
        }
        if (block < blocks)
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i)
                for (int part = 0; part < last && i < count; part += LANES) {
                    const V v = first(load(from + i * BLOCK + part), (int)at_most(last - part, LANES));
                    sum[i] += v * v;
                }
        store(energy + p - begin, sums_of_lanes(sum));
    }
}

// Tiles side by side: their first input pixel is (y0, x0) of a sample; `rows` and `columns` count
// the outputs that there are from the first tile on.
struct TileRun {
    i64 sample, y0, x0, count, rows, columns;
};

// uneven[i]: whether tile i (of at most STRIP / TILE) is.
template <int TILE, int TAPS>
static void find_uneven(const InMap<real>& x, i64 channels, const TileRun& run, std::uint8_t* uneven) {
    constexpr i64 SIDE = TILE + TAPS - 1, ROW = (STRIP + 2 + LANES - 1) / LANES * LANES + LANES;
    alignas(64) real energy[SIDE][ROW], total[ROW], quiet[ROW];
    const i64 width = run.count * TILE + TAPS - 1, begin = run.x0 < 0 ? at_most(-run.x0, width) : 0,
              end = at_most(x.w - run.x0, width);
    for (i64 i = 0; i < SIDE; ++i) {
        for (i64 k = 0; k < ROW; k += LANES) store(energy[i] + k, V{});
        const i64 row = run.y0 + i;
        if (row < 0 || row >= x.h || begin >= end) continue;
        row_energies(x, run.sample, row, channels, run.x0 + begin, run.x0 + end, energy[i] + begin);
    }
    const int windows = (int)at_most(TILE, run.rows);
    for (i64 k = 0; k + LANES < ROW; k += LANES) {
        V all{}, least = splat(INFINITE);
        for (int i = 0; i < SIDE; ++i) all += load(energy[i] + k);
        for (int i = 0; i < windows; ++i) {
            V window{};
            for (int s = 0; s < TAPS; ++s) {
                V column = load(energy[i] + k + s);
                for (int r = 1; r < TAPS; ++r) column += load(energy[i + r] + k + s);
                window += column;
            }
            least = vmin(window, least);
        }
        store(total + k, all);
        store(quiet + k, least);
    }
    for (i64 t = 0; t < run.count; ++t) {
        real all = 0, least = INFINITE;
        for (i64 k = t * TILE; k < t * TILE + SIDE; ++k) all += total[k];
        for (i64 k = t * TILE; k < t * TILE + at_most(TILE, run.columns - t * TILE); ++k)
            least = quiet[k] < least ? quiet[k] : least;
        // also if it is NaN
        uneven[t] = !(all < INFINITE && all * (TAPS * TAPS) <= LARGEST_SQUARE * (SIDE * SIDE) * least);
    }
}

// Weights of a direct convolution for one block of 16 filters: (blocks of channels, tap, 16
// channels, 16 filters), zeros where a block is not full.
static inline void pack_direct(const SquareFilters& w, i64 taps, i64 block, real* packed) {
    const i64 k0 = block * BLOCK, filters = at_most(BLOCK, w.filters - k0),
              blocks = (w.channels + BLOCK - 1) / BLOCK;
    for (i64 i = 0; i < blocks * taps * BLOCK * BLOCK; ++i) packed[i] = 0;
    for (i64 c = 0; c < w.channels; ++c)
        for (i64 tap = 0; tap < taps; ++tap) {
            real* to = packed + ((c / BLOCK * taps + tap) * BLOCK + c % BLOCK) * BLOCK;
            if (w.packed) {
                std::memcpy(to, w.at(block, c) + (w.turned ? taps - 1 - tap : tap) * BLOCK, BLOCK * sizeof(real));
                continue;
            }
            const real* from =
                w.weight + k0 * w.filter_stride + c * w.channel_stride + (w.turned ? taps - 1 - tap : tap);
            for (i64 k = 0; k < filters; ++k) to[k] = from[k * w.filter_stride];
        }
}
}  // namespace ISA::REAL_NAME
