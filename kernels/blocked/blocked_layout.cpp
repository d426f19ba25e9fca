// Between the caller's planar layout (N, C, H, W) and the blocked layout of compiled programs.
//
// 16 rows of LANES pixels are transposed at a time through registers: whole vectors are read along
// each channel's plane and whole vectors written across the channels.
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
// LANES vectors, row i of a square; afterwards vector i holds column i.
inline void transpose(V (&rows)[LANES]) { interleave(rows); }

// pixels [at, at + count) of `channels` planes, `plane` values apart, into a block
void to_block(const real* x, i64 plane, i64 channels, i64 count, real* y) {
    for (int part = 0; part < BLOCK; part += LANES) {
        V rows[LANES];
        #pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i)
            rows[i] = part + i >= channels ? V{}
                      : count == LANES     ? load(x + (part + i) * plane)
                                           : load(x + (part + i) * plane, (int)count);
        transpose(rows);
        for (int i = 0; i < count; ++i) store(y + i * BLOCK + part, rows[i]);
    }
}

void from_block(const real* x, i64 plane, i64 channels, i64 count, real* y) {
    for (int part = 0; part < BLOCK && part < channels; part += LANES) {
        V rows[LANES];
        #pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) rows[i] = i < count ? load(x + i * BLOCK + part) : V{};
        transpose(rows);
        #pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i)
            if (part + i < channels) {
                if (count == LANES) store(y + (part + i) * plane, rows[i]);
                else store(y + (part + i) * plane, rows[i], (int)count);
            }
    }
}

template <class Move> void each_strip(i64 n, i64 blocks, i64 plane, Move move) {
    parallel_for(n * blocks, 1 + 8192 / (plane + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i)
            for (i64 p = 0; p < plane; p += LANES)
                move(i / blocks, i % blocks, p, plane - p < LANES ? plane - p : LANES);
    });
}
}  // namespace

void to_blocked(In<real> x, OutMap<real> y) {
    const i64 channels = x.dim(1), plane = y.h * y.w;
    each_strip(y.n, y.blocks, plane, [&](i64 n, i64 b, i64 p, i64 count) {
        to_block(x.data + (n * channels + b * BLOCK) * plane + p, plane, channels - b * BLOCK, count,
                 y.at(n, b) + p * BLOCK);
    });
}

void from_blocked(InMap<real> x, Out<real> y) {
    const i64 channels = y.dim(1), plane = x.h * x.w;
    each_strip(x.n, x.blocks, plane, [&](i64 n, i64 b, i64 p, i64 count) {
        from_block(x.at(n, b) + p * BLOCK, plane, channels - b * BLOCK, count,
                   y.data + (n * channels + b * BLOCK) * plane + p);
    });
}

void planes_to_blocked(const real* x, i64 channels, i64 apart, OutMap<real> y) {
    const i64 plane = y.h * y.w;
    each_strip(1, y.blocks, plane, [&](i64, i64 b, i64 p, i64 count) {
        to_block(x + b * BLOCK * apart + p, apart, channels - b * BLOCK, count, y.at(0, b) + p * BLOCK);
    });
}

void planes_from_blocked(InMap<real> x, i64 channels, real* y, i64 apart) {
    const i64 plane = x.h * x.w;
    each_strip(1, x.blocks, plane, [&](i64, i64 b, i64 p, i64 count) {
        from_block(x.at(0, b) + p * BLOCK, apart, channels - b * BLOCK, count, y + b * BLOCK * apart + p);
    });
}
END_KERNELS
