// Batches of tiles on their way through a Winograd convolution: how they lie in V, and their products with
// the filters at all points (winograd_multiply.h).
#pragma once
#include "blocked/epilogue.h"
#include "winograd_multiply.h"
#include "winograd_tiles.h"

namespace ISA::REAL_NAME {
constexpr i64 UNIT = BV == 1 ? 2 : 1;   // blocks of filters that are multiplied together

static inline i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

// Tiles [begin, begin + count) of all samples, in groups for the register tile: `larger` of size +
// 1 tiles, then the rest of `size`.
struct Batch {
    i64 begin, count, groups, size, larger;
    Batch(i64 begin, i64 end)
        : begin(begin), count(end - begin), groups(ceil_div(count, GROUP)), size(count / groups),
          larger(count % groups) {}
    i64 start(i64 group) const { return group * size + at_most(group, larger); }
    i64 v_point(i64 in_blocks) const { return odd_lines(count * in_blocks); }
};

// Groups [first, last) of a batch: what is multiplied and finished together.
struct Piece {
    const Batch& batch;
    i64 first, last;
    i64 begin() const { return batch.start(first); }
    i64 count() const { return batch.start(last) - batch.start(first); }
    i64 m_point() const { return odd_lines(count()); }
    // from here on groups are smaller
    i64 split() const { return at_most(last, batch.larger > first ? batch.larger : first); }
};

// Where tiles [first, first + n) of the batch lie within a point of V.
static inline void find_places(const Batch& batch, i64 in_blocks, i64 block, i64 first, i64 n,
                               i64* place) {
    const i64 end = batch.start(batch.larger);   // of the larger groups
    i64 size = batch.size + (first < end), at = (first < end ? first : first - end) % size;   // within a group
    for (i64 i = 0; i < n; ++i, ++at) {
        if (at == size) at = 0;
        if (first + i == end) size = batch.size;
        place[i] = ((first + i - at) * in_blocks + size * block + at) * BLOCK;
    }
}

// Groups of `tiles` tiles each, of `blocks` (at most UNIT) blocks of filters.
static inline void multiply_blocks(int tiles, const Groups& groups, i64 channels, i64 blocks, Filters f) {
    if (BV == 1) {
        if (blocks == 2) multiply_groups<2>(tiles, groups, channels, f);
        else multiply_groups<1>(tiles, groups, channels, f);
        return;
    }
    f.u_next = f.m_next = f.ahead_second = LANES;
    for (int part = 0; part < BLOCK; part += 2 * LANES, f.u += 2 * LANES, f.m += 2 * LANES)
        multiply_groups<2>(tiles, groups, channels, f);
}

// Channels [begin, begin + count) of `all` that V has; begin is one of whole blocks.
struct Channels {
    i64 all, begin, count;
};

// M of the groups [first, last) of `size` tiles, of `blocks` (at most UNIT) blocks of filters, at one point.
static inline void multiply(const Piece& piece, const Channels& channels, i64 first, i64 last, i64 size, i64 blocks,
                            const real* v, Filters f) {
    if (first >= last) return;
    const Batch& batch = piece.batch;
    const i64    group = ceil_div(channels.all, BLOCK) * BLOCK;   // values of a tile
    const Groups groups{v + batch.start(first) * group + channels.begin * size, group * size, last - first};
    f.m += (batch.start(first) - piece.begin()) * BLOCK;
    f.ahead += (first - piece.first) * f.ahead_next * channels.count;
    multiply_blocks((int)size, groups, channels.count, blocks, f);
}

// The same of all groups of a piece.
static inline void multiply(const Piece& piece, const Channels& channels, i64 blocks, const real* v, const Filters& f) {
    multiply(piece, channels, piece.first, piece.split(), piece.batch.size + 1, blocks, v, f);
    multiply(piece, channels, piece.split(), piece.last, piece.batch.size, blocks, v, f);
}

// (blocks, points, channels, 16)
struct Transformed {
    const real* u;
    i64 channels, points;
};

// M of `blocks` (at most UNIT) blocks of filters from `block` on.
static inline void make_m(const Piece& piece, const Transformed& filters, i64 block, i64 blocks, const real* v,
                          real* m) {
    const Batch& batch = piece.batch;
    const i64 points = filters.points, u_point = filters.channels * BLOCK, m_point = piece.m_point(),
              v_point = batch.v_point(ceil_div(filters.channels, BLOCK));
    for (i64 point = 0; point < points; ++point, v += v_point) {
        const real* u = filters.u + (block * points + point) * u_point;
        const Filters f{u, points * u_point, m + point * m_point, points * m_point,
                        (const char*)(u + (point + 1 < points ? 1 : (blocks - 1) * points + 1) * u_point),
                        points * u_point, BLOCK * (i64)sizeof(real) / (piece.last - piece.first)};
        multiply(piece, {filters.channels, 0, filters.channels}, blocks, v, f);
    }
}
}  // namespace ISA::REAL_NAME
