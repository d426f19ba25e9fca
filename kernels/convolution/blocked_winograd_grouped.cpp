// 3x3 convolutions of stride 1 and many narrow groups by Winograd's algorithm (winograd_transform.h).
//
// ChannelRange on their way to the points and filters' results on their way back know no groups; products at
// the points do. A unit is the fewest groups whose channels and filters both fill blocks. A block of 16
// filters is multiplied by the blocks of channels that its own groups lie in, with zeros where a channel is in
// another group than the filter: some third of them where groups are of 24, none where they are whole blocks.
//
// A tile that is uneven in one of the groups that a block of filters meets (winograd_uneven.h) is computed
// directly in all of that block, each group for itself: zeros do not keep apart what is not finite.
//
// A thread takes batches of tiles of a unit through all stages. Every value is the same chain of operations
// whatever the batch and the threads.
#include "convolution/blocked_tile.h"
#include "winograd_job.h"

BEGIN_KERNELS
namespace {
constexpr i64 BATCH_BYTES = 384 << 10;   // V and M of a batch stay in L2, beside filters and maps

// Groups of `channels` and `filters` each; those of a unit, of which the last one may have fewer.
struct Groups3x3 {
    i64 channels, filters, unit, count;

    Groups3x3(i64 all_channels, i64 all_filters, i64 groups)
        : channels(all_channels / groups), filters(all_filters / groups), unit(1), count(groups) {
        while (unit < groups && (unit * channels % BLOCK || unit * filters % BLOCK)) ++unit;
    }
    i64 units() const { return ceil_div(count, unit); }
    i64 in(i64 u) const { return at_most(unit, count - u * unit); }   // groups of unit u
    // of unit u: the groups that a block of filters has a part in
    i64 first(i64 block) const { return block * BLOCK / filters; }
    i64 last(i64 u, i64 block) const { return at_most(ceil_div((block + 1) * BLOCK, filters), in(u)); }
    i64 blocks(i64 u) const { return ceil_div(in(u) * filters, BLOCK); }
    // the channels that it is multiplied by: whole blocks, so those of other groups may be among them
    ChannelRange seen(i64 u, i64 block) const {
        return {first(block) * channels / BLOCK * BLOCK,
                at_most(ceil_div(last(u, block) * channels, BLOCK) * BLOCK, in(u) * channels)};
    }
};

// M of `blocks` (at most UNIT) blocks of filters that see the same channels, at all points and tiles of a batch. u:
// (points, channels, 16) of each.
void make_m(const Piece& piece, i64 in_blocks, ChannelRange seen, const real* u, i64 blocks, i64 points, const real* v,
            real* m) {
    const Batch& batch = piece.batch;
    const i64 channels = seen.last - seen.first, v_point = batch.v_point(in_blocks), m_point = piece.m_point();
    const auto of = [&](i64 first, i64 last, i64 size, const Filters& f) {
        if (first >= last) return;
        const Groups groups{v + batch.start(first) * in_blocks * BLOCK + seen.first * size, in_blocks * BLOCK * size,
                            last - first};
        Filters here = f;
        here.m += batch.start(first) * BLOCK;
        here.ahead += first * f.ahead_next * channels;
        multiply_blocks((int)size, groups, channels, blocks, here);
    };
    for (i64 point = 0; point < points; ++point, v += v_point) {
        const real* at = u + point * channels * BLOCK;
        const Filters f{at, points * channels * BLOCK, m + point * m_point, points * m_point,
                        (const char*)(at + channels * BLOCK), points * channels * BLOCK,
                        BLOCK * (i64)sizeof(real) / batch.groups};
        of(0, piece.split(), batch.size + 1, f);
        of(piece.split(), batch.groups, batch.size, f);
    }
}

// A tile's pixels of one group, with zeros where they lie outside the image: (blocks of channels, m + 2, m + 2, 16).
template <int TILE> void lay_group(const Job& job, const TilePlace<TILE, 3>& p, ChannelRange group, real* patch) {
    constexpr i64 SIDE = TILE + 2;
    for (i64 c = group.first; c < group.last; ++c) {
        const real* from = job.x.at(p.n, c / BLOCK) + c % BLOCK;
        real* to = patch + (c - group.first) / BLOCK * SIDE * SIDE * BLOCK + (c - group.first) % BLOCK;
        for (i64 i = 0; i < SIDE; ++i)
            for (i64 j = 0; j < SIDE; ++j, to += BLOCK) {
                const i64 y = p.down * TILE - job.pad_h + i, x = p.across * TILE - job.pad_w + j;
                *to = y >= 0 && y < job.x.h && x >= 0 && x < job.x.w ? from[(y * job.x.w + x) * BLOCK] : 0;
            }
    }
}

// A group's filters in a block, lanes [first, last), as convolve_tile reads them; zeros in the other lanes.
void pack_group(const real* weight, i64 channels, i64 first, i64 last, real* packed) {
    for (i64 i = 0; i < ceil_div(channels, BLOCK) * 9 * BLOCK * BLOCK; ++i) packed[i] = 0;
    for (i64 lane = first; lane < last; ++lane, weight += channels * 9)
        for (i64 c = 0; c < channels; ++c)
            for (i64 tap = 0; tap < 9; ++tap)
                packed[((c / BLOCK * 9 + tap) * BLOCK + c % BLOCK) * BLOCK + lane] = weight[c * 9 + tap];
}

// The uneven tiles of a batch, of one block of filters, a group after the other.
template <int TILE>
__attribute__((noinline)) void make_directly(const Job& job, const Groups3x3& g, i64 u, const Batch& batch, i64 block,
                                             const std::uint8_t* uneven) {
    constexpr i64 SIDE = TILE + 2, ROW = WholeTile<TILE, 3>::ROW;
    constexpr int PIXELS = TILE < most_pixels(1) ? TILE : most_pixels(1);
    static_assert(TILE % PIXELS == 0);
    const i64 in_blocks = ceil_div(g.channels, BLOCK), size = in_blocks * 9 * BLOCK * BLOCK,
              first = g.first(block), groups = g.last(u, block) - first;
    Scratch<real> packed(groups * size), patch(in_blocks * SIDE * SIDE * BLOCK);
    for (i64 i = 0; i < in_blocks * SIDE * SIDE * BLOCK; ++i) patch[i] = 0;   // lanes that no channel has
    const auto lane = [&](i64 group) {   // where its filters begin
        const i64 at = group * g.filters - block * BLOCK;
        return at < 0 ? 0 : at_most(at, BLOCK);
    };
    for (i64 i = 0; i < groups; ++i) {
        const i64 filter = block * BLOCK + lane(first + i);
        pack_group(job.filters.weight + filter * g.channels * 9, g.channels, lane(first + i), lane(first + i + 1),
                   packed + i * size);
    }
    TileTap taps[9];
    for (int t = 0; t < 9; ++t) taps[t] = {(t / 3 * SIDE + t % 3) * BLOCK, t * BLOCK * BLOCK};
    const Reduction sum{taps, 9, g.channels, SIDE * SIDE * BLOCK, 9 * BLOCK * BLOCK, 0};
    for (i64 i = 0; i < batch.count; ++i) {
        if (!uneven[i]) continue;
        const TilePlace<TILE, 3> p(job, {job, batch.begin + i}, block);
        WholeTile<TILE, 3> whole(p);
        for (i64 k = 0; k < TILE * ROW; ++k) whole.values[k] = 0;
        for (i64 k = 0; k < groups; ++k) {
            alignas(64) real some[TILE * ROW];
            const i64 channel = (first + k) * g.channels;
            lay_group<TILE>(job, p, {channel, channel + g.channels}, patch);
            for (i64 row = 0; row < TILE; ++row)
                for (i64 column = 0; column < TILE; column += PIXELS) {
                    const i64 at = row * ROW + column * BLOCK;
                    const Target target{some + at, p.residual ? whole.other + at : nullptr, BLOCK, 0, 0, p.bias};
                    convolve_tile<PIXELS, 1, BLOCK>(patch + (row * SIDE + column) * BLOCK, packed + k * size, sum,
                                                    target, job.epilogue);
                }
            for (i64 at = 0; at < TILE * ROW; at += BLOCK)
                for (i64 l = lane(first + k); l < lane(first + k + 1); ++l) whole.values[at + l] = some[at + l];
        }
        whole.put(job, p);
    }
}

// uneven: a flag for each tile and group of the unit; any: room for one for each tile
template <int TILE>
void make_block(const Job& job, const Groups3x3& g, i64 u, const Batch& batch, i64 block, const real* m,
                const std::uint8_t* uneven, std::uint8_t* any) {
    bool left = false;
    const ChannelRange seen = g.seen(u, block);
    TileAt tile(job, batch.begin);
    for (i64 i = 0; i < batch.count; ++i, tile.next(job)) {
        any[i] = 0;
        for (i64 k = seen.first / g.channels; k * g.channels < seen.last; ++k) any[i] |= uneven[k * batch.count + i];
        if (any[i]) left = true;
        else make_y<TILE, 3>(job, tile, block, m + i * BLOCK, odd_lines(batch.count));
    }
    if (left) make_directly<TILE>(job, g, u, batch, block, any);
}

// Unit u: its part of the maps, of the filters, and where its transformed filters begin.
Job unit_of(const Job& all, const Groups3x3& g, i64 u) {
    Job job = all;
    const i64 in = u * g.unit * g.channels / BLOCK, out = u * g.unit * g.filters / BLOCK;
    job.x.data += in * all.x.plane();
    job.y.data += out * all.y.plane();
    if (all.residual) job.residual.data += out * all.y.plane();
    if (all.bias) job.bias += out * BLOCK;
    job.filters.weight += u * g.unit * g.filters * g.channels * 9;
    job.channels  = g.in(u) * g.channels;
    job.in_blocks = ceil_div(job.channels, BLOCK);
    return job;
}

template <int TILE> void run(const Job& all, const Groups3x3& g) {
    constexpr i64 POINTS = Winograd<TILE, 3>::POINTS;
    const i64 in_blocks = ceil_div(g.in(0) * g.channels, BLOCK);
    const i64 room = BATCH_BYTES / ((in_blocks + UNIT) * POINTS * BLOCK * (i64)sizeof(real)),
              most = room < GROUP ? GROUP : room / GROUP * GROUP, batches = ceil_div(all.tiles, most),
              largest = ceil_div(all.tiles, batches);
    const i64 units = g.units(), per_block = POINTS * BLOCK;
    i64 per_unit = 0;   // transformed filters of all but the last one
    for (i64 block = 0; block < g.blocks(0); ++block) {
        const ChannelRange seen = g.seen(0, block);
        per_unit += (seen.last - seen.first) * per_block;
    }
    const i64 work = largest * POINTS * (in_blocks * BLOCK + 64) * BLOCK;
    parallel_for(units * batches, 1 + 400000 / (work + 1), [&](i64 begin, i64 end) {
        Scratch<real> v(POINTS * odd_lines(largest * in_blocks)), m(UNIT * POINTS * odd_lines(largest));
        Scratch<std::uint8_t> uneven((g.unit + 1) * largest);
        for (i64 at = begin; at < end; ++at) {
            const i64 u = at / batches, i = at % batches;
            const Job job = unit_of(all, g, u);
            const Batch batch(all.tiles * i / batches, all.tiles * (i + 1) / batches);
            const Piece piece{batch, 0, batch.groups};
            for (i64 k = 0; k < g.in(u); ++k)
                mark_uneven<TILE, 3>(job, {k * g.channels, (k + 1) * g.channels}, batch, 0, batch.count,
                                     uneven + k * batch.count);
            for (i64 block = 0; block < job.in_blocks; ++block)
                make_v<TILE, 3>(job, batch, block, 0, batch.count, v);
            const real* filters = all.u + u * per_unit;
            for (i64 block = 0, together; block < g.blocks(u); block += together) {
                const ChannelRange seen = g.seen(u, block);
                together = UNIT == 2 && block + 1 < g.blocks(u) && g.seen(u, block + 1) == seen ? 2 : 1;
                make_m(piece, job.in_blocks, seen, filters, together, POINTS, v, m);
                for (i64 b = 0; b < together; ++b)
                    make_block<TILE>(job, g, u, batch, block + b, m + b * POINTS * piece.m_point(), uneven,
                                     uneven + g.unit * largest);
                filters += together * (seen.last - seen.first) * per_block;
            }
        }
    });
}
}  // namespace

// u: for each block of filters (points, channels of the blocks that its groups lie in, 16)
void winograd_grouped(InMap<real> x, In<real> weight, In<real> u, i64 tile, In<real> bias, InMap<real> residual,
                      Dims padding, i64 pool, i64 groups, Act act, OutMap<real> y) {
    const i64 filters = weight.dim(0), channels = weight.dim(1);
    Job job{x,
            residual,
            y,
            {weight.data, filters, channels, 9 * channels, 9, false},
            u.data,
            bias.data,
            channels,
            0,
            padding[0],
            padding[1],
            y.h * pool,
            y.w * pool,
            ceil_div(y.h * pool, tile),
            ceil_div(y.w * pool, tile),
            0,
            pool == 2,
            Epilogue(act)};
    job.tiles = y.n * job.tiles_h * job.tiles_w;
    if (!job.tiles || !y.blocks) return;
    const Groups3x3 g(groups * channels, filters, groups);
    if (tile == 2) run<2>(job, g);
    else if (tile == 4) run<4>(job, g);
    else run<6>(job, g);
}
END_KERNELS
