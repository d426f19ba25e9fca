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

// ChannelRange [first, last) of a map: all of them, or those of a group.
struct ChannelRange {
    i64 first, last;
    ChannelRange(i64 count) : first(0), last(count) {}
    ChannelRange(i64 first, i64 last) : first(first), last(last) {}
    bool operator==(const ChannelRange& o) const { return first == o.first && last == o.last; }
};

// The sums of squares over channels of `count` pixels from `from` on, which lie in block channels.first / BLOCK: all
// LANES of them, or fewer, where the other lanes are 0. below: how far the pixels to fetch lie, or 0.
template <bool ALL>
static inline V energies_of(const real* from, i64 plane, ChannelRange channels, int count, i64 below) {
    V sum[LANES] = {};
    const i64 first_block = channels.first / BLOCK, blocks = (channels.last + BLOCK - 1) / BLOCK;
    for (i64 block = first_block; block < blocks; ++block, from += plane) {
        if (below)
            for (int i = 0; i < count; ++i) __builtin_prefetch(from + below + i * BLOCK);
        const int low = block == first_block ? (int)(channels.first % BLOCK) : 0,
                  high = (int)at_most(channels.last - block * BLOCK, BLOCK);
        const auto add = [&](int part, auto read) {
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) {
                const V v = read(from + (ALL || i < count ? i : count - 1) * BLOCK + part);
                sum[i] += v * v;
            }
        };
        #pragma GCC unroll 4
        for (int part = 0; part < BLOCK; part += LANES) {
            const int begins = low > part ? low - part : 0, ends = (int)at_most(high - part, LANES);
            if (ends - begins == LANES) add(part, [](const real* p) { return load(p); });
            else if (begins < ends) {
                const LaneRange lanes = lane_range(begins, ends);
                add(part, [&](const real* p) { return load(p, lanes); });
            }
        }
    }
    const V sums = sums_of_lanes(sum);
    return ALL ? sums : first(sums, count);
}

// The sums of squares over channels of the pixels [begin, end) of a row. Lanes beyond the last
// channel hold no values. What is read here first of a map that comes from memory is the row below, too:
// blocks of channels lie too far apart for the processor to see what comes next.
static inline void row_energies(const InMap<real>& x, i64 sample, i64 row, ChannelRange channels, i64 begin, i64 end,
                                real* energy) {
    const i64 below = x.n * x.blocks * x.plane() * (i64)sizeof(real) > FAR_BYTES ? x.w * BLOCK : 0;
    const real* from = x.at(sample, channels.first / BLOCK) + (row * x.w + begin) * BLOCK;
    i64 p = 0;
    for (; p + LANES <= end - begin; p += LANES)
        store(energy + p, energies_of<true>(from + p * BLOCK, x.plane(), channels, LANES, below));
    if (p < end - begin)
        store(energy + p, energies_of<false>(from + p * BLOCK, x.plane(), channels, (int)(end - begin - p), below));
}

// Tiles side by side: their first input pixel is (y0, x0) of a sample; `rows` and `columns` count
// the outputs that there are from the first tile on.
struct TileRun {
    i64 sample, y0, x0, count, rows, columns;
};

// The energies of the pixels that a run of tiles sees. What the run above has seen too is not worked out again.
template <int TILE, int TAPS> struct Energies {
    static constexpr i64 SIDE = TILE + TAPS - 1, BEYOND = LANES > SIDE ? LANES : SIDE,
                         ROW = (STRIP + TAPS - 1 + 2 * BEYOND + LANES - 1) / LANES * LANES;
    alignas(64) real energy[SIDE][ROW];
    TileRun last{-1, 0, 0, 0, 0, 0};

    // How many rows are those that lay lowest in the run before; they move up.
    i64 kept(const TileRun& run) {
        const bool below = run.sample == last.sample && run.x0 == last.x0 && run.count == last.count &&
                           run.y0 == last.y0 + TILE;
        last = run;
        if (!below) return 0;
        for (i64 i = 0; i < TAPS - 1; ++i)
            for (i64 k = 0; k < ROW; k += LANES) store(energy[i] + k, load(energy[i + TILE] + k));
        return TAPS - 1;
    }
};

// uneven[i]: whether tile i (of at most STRIP / TILE) is.
template <int TILE, int TAPS>
static void find_uneven(const InMap<real>& x, ChannelRange channels, const TileRun& run, Energies<TILE, TAPS>& seen,
                        std::uint8_t* uneven) {
    using Seen = Energies<TILE, TAPS>;
    constexpr i64 SIDE = Seen::SIDE, BEYOND = Seen::BEYOND;
    auto& energy = seen.energy;
    alignas(64) real total[Seen::ROW], quiet[Seen::ROW];
    const i64 width = run.count * TILE + TAPS - 1, used = (width + LANES - 1) / LANES * LANES,
              begin = run.x0 < 0 ? at_most(-run.x0, width) : 0, end = at_most(x.w - run.x0, width);
    for (i64 i = seen.kept(run); i < SIDE; ++i) {
        const i64 row = run.y0 + i;
        const bool inside = row >= 0 && row < x.h && begin < end;
        for (i64 k = 0; k < (inside ? begin : used + BEYOND); k += LANES) store(energy[i] + k, V{});
        if (!inside) continue;
        row_energies(x, run.sample, row, channels, run.x0 + begin, run.x0 + end, energy[i] + begin);
        for (i64 k = end; k < used + BEYOND; k += LANES) store(energy[i] + k, V{});
    }
    // of each column its sum, and the quietest of the windows that begin there
    const int windows = (int)at_most(TILE, run.rows);
    i64 k = 0;
    for (; k < used; k += LANES) {
        V all{}, across[SIDE], least = splat(INFINITE);
        #pragma GCC unroll 8
        for (int i = 0; i < SIDE; ++i) {
            across[i] = load(energy[i] + k);
            all += across[i];
            #pragma GCC unroll 4
            for (int s = 1; s < TAPS; ++s) across[i] += load(energy[i] + k + s);
        }
        #pragma GCC unroll 8
        for (int i = 0; i < TILE; ++i) {
            V window = across[i];
            #pragma GCC unroll 4
            for (int r = 1; r < TAPS; ++r) window += across[i + r];
            if (i < windows) least = vmin(window, least);
        }
        store(total + k, all);
        store(quiet + k, least);
    }
    for (i64 i = k; i < k + BEYOND; i += LANES) store(total + i, V{});
    for (i64 i = at_most(k, run.columns); i < k + BEYOND; i += LANES) store(quiet + i, splat(INFINITE));
    // of each tile, where it begins: the sum of its columns, the quietest of its windows
    for (k = 0; k < run.count * TILE; k += LANES) {
        V all{}, least = splat(INFINITE);
        #pragma GCC unroll 8
        for (int s = 0; s < SIDE; ++s) all += load(total + k + s);
        #pragma GCC unroll 8
        for (int s = 0; s < TILE; ++s) least = vmin(load(quiet + k + s), least);
        store(total + k, all);
        store(quiet + k, least);
    }
    for (i64 t = 0; t < run.count; ++t) {
        const real all = total[t * TILE], least = quiet[t * TILE];
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
