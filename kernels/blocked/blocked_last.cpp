// Between images whose channels come last, (N, pixels, C), and the blocked layout: a pixel's block of
// channels is one run of memory in either. Pixels go a strip at a time, so that the blocks of a
// pixel, which lie a plane apart, are read and written while its row is in the nearest cache.
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
constexpr i64 STRIP = 32;   // pixels

// move(sample, block, first pixel, pixels, channels of the block) for all strips
template <class Move> void each_strip(i64 n, i64 pixels, i64 channels, Move move) {
    const i64 strips = (pixels + STRIP - 1) / STRIP, blocks = (channels + BLOCK - 1) / BLOCK;
    parallel_for(n * strips, 1 + 16384 / (STRIP * channels + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 p = i % strips * STRIP, count = pixels - p < STRIP ? pixels - p : STRIP;
            for (i64 b = 0; b < blocks; ++b)
                move(i / strips, b, p, count, channels - b * BLOCK < BLOCK ? channels - b * BLOCK : BLOCK);
        }
    });
}

// `count` pixels, `from` and `to` values apart; lanes beyond the channels become 0 if `fill`
template <bool FILL> void move_block(const real* x, i64 from, real* y, i64 to, i64 count, i64 channels) {
    for (int part = 0; part < BLOCK; part += LANES) {
        const i64 left = channels - part;
        if (left >= LANES) {
            for (i64 p = 0; p < count; ++p) store(y + p * to + part, load(x + p * from + part));
        } else if (left > 0) {
            for (i64 p = 0; p < count; ++p) {
                const V v = load(x + p * from + part, (int)left);
                if (FILL) store(y + p * to + part, v);
                else store(y + p * to + part, v, (int)left);
            }
        } else if (FILL) {
            for (i64 p = 0; p < count; ++p) store(y + p * to + part, V{});
        }
    }
}
}  // namespace

void last_to_blocked(In<real> x, OutMap<real> y) {
    const i64 pixels = x.dim(1), channels = x.dim(2);
    each_strip(y.n, pixels, channels, [&](i64 n, i64 b, i64 p, i64 count, i64 lanes) {
        move_block<true>(x.data + (n * pixels + p) * channels + b * BLOCK, channels, y.at(n, b) + p * BLOCK,
                         BLOCK, count, lanes);
    });
}

void last_from_blocked(InMap<real> x, Out<real> y) {
    const i64 pixels = y.dim(1), channels = y.dim(2);
    each_strip(x.n, pixels, channels, [&](i64 n, i64 b, i64 p, i64 count, i64 lanes) {
        move_block<false>(x.at(n, b) + p * BLOCK, BLOCK,
                          y.data + (n * pixels + p) * channels + b * BLOCK, channels, count, lanes);
    });
}
END_KERNELS
