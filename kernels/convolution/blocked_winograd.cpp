// 3x3 (and 2x2, and 5x5) convolutions of stride 1 by Winograd's algorithm (winograd_transform.h), fused: tiles of the
// input are transformed, multiplied by the transformed filters at every point
// (winograd_multiply.h), and transformed back with the epilogue, a cacheful of tiles at a time.
//
// Two plans. Where there is a group of tiles for every thread, each takes batches of tiles through
// all stages, so that what lies between the stages stays in its L2, and streams the filters from
// wherever they are. Fewer tiles: threads make the transformed input together and then share out
// the filters, so that these are read once. Filters that are not transformed yet (`u` null) go that
// way, too: a thread transforms some when it has come to them, for all tiles of a batch.
//
// Tiles that hold outliers are computed directly instead, by the register tile of direct
// convolutions (winograd_uneven.h).
//
// Every value is the same chain of operations whatever the plan, the batch of tiles, the threads,
// or a tile's place at a border: there the columns outside the image are zeros in the strip that
// all tiles are made from.
#include "convolution/blocked_tile.h"
#include "winograd_job.h"

BEGIN_KERNELS
namespace {
// Sizes measured on Zen 4 (L2 1 MB, L3 32 MB for all cores).
constexpr i64 PRIVATE_BYTES = 800 << 10;   // V and M of a batch that a thread has to itself
// bytes of filters that may be read again for every such batch; with more of them
constexpr i64 FEW_FILTERS = 4 << 20;
constexpr i64 PRIVATE_MORE = 2 << 20;     // batches are larger
constexpr i64 SHARED_BYTES = 16 << 20;    // V of a batch that all threads work on
constexpr i64 MET_TILES = 6 * GROUP;      // and the tiles that meet them together
constexpr i64 MET_BYTES = 320 << 10;      // filters that are transformed before they are multiplied

// M of up to UNIT blocks of filters that are yet to be transformed: so many channels at a time that their
// filters stay in L2 until they are multiplied, while the next ones are fetched. Sums go on in m.
template <int TILE, int TAPS>
void make_m_and_filters(const Job& job, const Piece& piece, i64 block, i64 blocks, const real* v, real* m) {
    constexpr i64 POINTS = Winograd<TILE, TAPS>::POINTS, COUNT = TAPS * TAPS;
    constexpr i64 MOST = MET_BYTES / (POINTS * UNIT * BLOCK * BLOCK * (i64)sizeof(real)) * BLOCK;
    const i64 steps = ceil_div(job.channels, MOST), step = ceil_div(job.in_blocks, steps) * BLOCK,
              u_point = odd_lines(step), u_block = POINTS * u_point, m_point = piece.m_point(),
              v_point = piece.batch.v_point(job.in_blocks);
    const SquareFilters& w = job.filters;
    Scratch<real> u(blocks * u_block), taps(w.packed ? 0 : step * COUNT * BLOCK);
    for (i64 c = 0; c < job.channels; c += step) {
        const i64 count = at_most(step, job.channels - c), next = c + count < job.channels ? c + count : 0;
        for (i64 b = 0; b < blocks; ++b)
            winograd_filter_points(w, TILE, block + b, c, count, taps, u + b * u_block, u_point);
        // filters to come, a share at each point
        const bool any = w.packed && (next || block + 2 * blocks <= job.y.blocks);
        const i64 lines = COUNT * BLOCK * (i64)sizeof(real), groups = piece.last - piece.first;
        const char* ahead = (const char*)(any ? w.at(next ? block : block + blocks, next) : u);
        for (i64 point = 0; point < POINTS; ++point) {
            const Filters f{u + point * u_point, u_block, m + point * m_point, POINTS * m_point,
                            any ? ahead + point * (count * lines / POINTS) : ahead,
                            any ? w.channels * COUNT * BLOCK : 0, any ? lines / POINTS / groups : 0, c > 0};
            multiply(piece, {job.channels, c, count}, blocks, v + point * v_point, f);
        }
    }
}

// The inputs of a tile, with zeros where they lie outside the image: (blocks of channels,
// TILE + TAPS - 1, TILE + TAPS - 1, 16).
template <int TILE, int TAPS> void lay_patch(const Job& job, const TilePlace<TILE, TAPS>& p, real* patch) {
    constexpr i64 SIDE = TILE + TAPS - 1;
    const i64 y0 = p.down * TILE - job.pad_h, x0 = p.across * TILE - job.pad_w;
    for (i64 block = 0; block < job.in_blocks; ++block) {
        const real* from = job.x.at(p.n, block);
        for (i64 i = y0; i < y0 + SIDE; ++i)
            for (i64 j = x0; j < x0 + SIDE; ++j, patch += BLOCK) {
                const bool inside = i >= 0 && i < job.x.h && j >= 0 && j < job.x.w;
                copy_rows(inside ? from + (i * job.x.w + j) * BLOCK : zero_row, 0, 1, BLOCK, patch, 0);
            }
    }
}

// The uneven tiles of a piece, of one block of filters: the chains of multiply-adds that a
// direct convolution makes.
template <int TILE, int TAPS>
__attribute__((noinline)) void make_directly(const Job& job, const Piece& piece, i64 block,
                                             const std::uint8_t* uneven) {
    constexpr i64 SIDE = TILE + TAPS - 1, ROW = WholeTile<TILE, TAPS>::ROW;
    constexpr int PIXELS = TILE < most_pixels(1) ? TILE : most_pixels(1);
    static_assert(TILE % PIXELS == 0);
    constexpr int COUNT = TAPS * TAPS;
    Scratch<real> packed(job.in_blocks * COUNT * BLOCK * BLOCK), patch(job.in_blocks * SIDE * SIDE * BLOCK);
    pack_direct(job.filters, COUNT, block, packed);
    TileTap taps[COUNT];
    for (int t = 0; t < COUNT; ++t) taps[t] = {(t / TAPS * SIDE + t % TAPS) * BLOCK, t * BLOCK * BLOCK};
    const Reduction sum{taps, COUNT, job.channels, SIDE * SIDE * BLOCK, COUNT * BLOCK * BLOCK, 0};
    for (i64 i = piece.begin(); i < piece.begin() + piece.count(); ++i) {
        if (!uneven[i]) continue;
        const TilePlace<TILE, TAPS> p(job, {job, piece.batch.begin + i}, block);
        WholeTile<TILE, TAPS> whole(p);
        lay_patch<TILE, TAPS>(job, p, patch);
        for (i64 row = 0; row < TILE; ++row)
            for (i64 column = 0; column < TILE; column += PIXELS) {
                const i64 at = row * ROW + column * BLOCK;
                const Target target{
                    whole.values + at, p.residual ? whole.other + at : nullptr, BLOCK, 0, 0, p.bias};
                convolve_tile<PIXELS, 1, BLOCK>(patch + (row * SIDE + column) * BLOCK, packed, sum, target,
                                                job.epilogue);
            }
        whole.put(job, p);
    }
}

// From M to y, of `blocks` blocks of filters.
template <int TILE, int TAPS>
void finish(const Job& job, const Piece& piece, i64 block, i64 blocks, real* m, const std::uint8_t* uneven) {
    constexpr i64 POINTS = Winograd<TILE, TAPS>::POINTS;
    const i64 m_point = piece.m_point();
    for (i64 b = 0; b < blocks; ++b) {
        i64 left = 0;
        TileAt tile(job, piece.batch.begin + piece.begin());
        for (i64 i = 0; i < piece.count(); ++i, tile.next(job))
            if (uneven[piece.begin() + i]) ++left;
            else make_y<TILE, TAPS>(job, tile, block + b, m + b * POINTS * m_point + i * BLOCK, m_point);
        if (left) make_directly<TILE, TAPS>(job, piece, block + b, uneven);
    }
}

// Up to UNIT blocks of filters from `block` on, at the tiles of a piece.
template <int TILE, int TAPS>
void make_outputs(const Job& job, const Piece& piece, i64 block, const real* v, real* m,
                  const std::uint8_t* uneven) {
    constexpr i64 POINTS = Winograd<TILE, TAPS>::POINTS;
    const i64 blocks = at_most(UNIT, job.y.blocks - block);
    if (job.u) make_m(piece, {job.u, job.channels, POINTS}, block, blocks, v, m);
    else if (piece.count() <= MET_TILES) make_m_and_filters<TILE, TAPS>(job, piece, block, blocks, v, m);
    else {   // M of so many would not stay in L2 from one lot of channels to the next
        const i64 u_block = POINTS * job.channels * BLOCK, lots = ceil_div(piece.count(), MET_TILES),
                  groups = piece.last - piece.first;
        Scratch<real> u(blocks * u_block), taps(job.filters.packed ? 0 : job.channels * TAPS * TAPS * BLOCK);
        for (i64 b = 0; b < blocks; ++b)
            winograd_filter_points(job.filters, TILE, block + b, 0, job.channels, taps, u + b * u_block,
                                   job.channels * BLOCK);
        for (i64 lot = 0; lot < lots; ++lot) {
            const Piece part{piece.batch, piece.first + groups * lot / lots, piece.first + groups * (lot + 1) / lots};
            if (part.first == part.last) continue;
            make_m(part, {u, job.channels, POINTS}, 0, blocks, v, m);
            finish<TILE, TAPS>(job, part, block, blocks, m, uneven);
        }
        return;
    }
    finish<TILE, TAPS>(job, piece, block, blocks, m, uneven);
}

// How the tiles are cut into batches.
struct Plan {
    i64 tiles, batches, step;   // batches begin at multiples of `step`
    bool shared;

    template <int TILE, int TAPS> static Plan of(const Job& job) {
        const i64 point_bytes = Winograd<TILE, TAPS>::POINTS * BLOCK * (i64)sizeof(real), threads = threads_now();
        const i64 filter_bytes = job.y.blocks * job.channels * point_bytes,
                  tile_bytes = (job.in_blocks + UNIT) * point_bytes;
        const bool shared = !job.u || job.tiles < GROUP * threads;
        const i64 room = shared ? SHARED_BYTES : filter_bytes > FEW_FILTERS ? PRIVATE_MORE
                                                                            : PRIVATE_BYTES;
        const i64 most = room / tile_bytes / GROUP * GROUP;
        const i64 batches = ceil_div(job.tiles, most < GROUP ? GROUP : most),
                  step = job.tiles < 16 * GROUP * threads ? 1 : GROUP;
        return {job.tiles,
                shared ? batches : at_most(ceil_div(batches, threads) * threads, ceil_div(job.tiles, step)),
                step, shared};
    }
    i64 begin(i64 batch) const { return at_most(ceil_div(tiles, step) * batch / batches * step, tiles); }
    Batch operator[](i64 batch) const { return Batch(begin(batch), begin(batch + 1)); }
    i64 largest() const { return ceil_div(ceil_div(tiles, step), batches) * step; }
};

template <int TILE, int TAPS> void each_thread_alone(const Job& job, const Plan& plan, i64 v_size, i64 m_size) {
    parallel_for(plan.batches, 1, [&](i64 begin, i64 end) {
        Scratch<real> v(v_size), m(m_size);
        Scratch<std::uint8_t> uneven(plan.largest());
        for (i64 i = begin; i < end; ++i) {
            const Batch batch = plan[i];
            mark_uneven<TILE, TAPS>(job, job.channels, batch, 0, batch.count, uneven);
            for (i64 block = 0; block < job.in_blocks; ++block)
                make_v<TILE, TAPS>(job, batch, block, 0, batch.count, v);
            for (i64 block = 0; block < job.y.blocks; block += UNIT)
                make_outputs<TILE, TAPS>(job, {batch, 0, batch.groups}, block, v, m, uneven);
        }
    });
}

template <int TILE, int TAPS> void all_together(const Job& job, const Plan& plan, i64 v_size, i64 m_size) {
    Scratch<real> v(v_size);
    Scratch<std::uint8_t> uneven(plan.largest());
    const i64 threads = threads_now(), units = ceil_div(job.y.blocks, UNIT);
    for (i64 i = 0; i < plan.batches; ++i) {
        const Batch batch = plan[i];
        const i64 parts = at_most(threads, batch.count);
        parallel_for((job.in_blocks + 1) * parts, 1, [&](i64 begin, i64 end) {
            for (i64 at = begin; at < end; ++at) {
                const i64 block = at / parts, first = batch.count * (at % parts) / parts,
                          last = batch.count * (at % parts + 1) / parts;
                if (block < job.in_blocks) make_v<TILE, TAPS>(job, batch, block, first, last, v);
                else mark_uneven<TILE, TAPS>(job, job.channels, batch, first, last, uneven);
            }
        });
        // Where units of filters do not come out even among the threads, tiles are shared out as well.
        const i64 pieces = !job.u || job.y.blocks % (UNIT * threads) == 0
                               ? 1
                               : at_most(ceil_div(4 * threads, units), batch.groups);
        parallel_tasks(units * pieces, [&](i64 task) {
            Scratch<real> m(m_size);
            const i64 piece = task % pieces;
            make_outputs<TILE, TAPS>(job,
                                     {batch, batch.groups * piece / pieces, batch.groups * (piece + 1) / pieces},
                                     task / pieces * UNIT, v, m, uneven);
        });
    }
}

template <int TILE, int TAPS> void run(const Job& job) {
    constexpr i64 POINTS = Winograd<TILE, TAPS>::POINTS;
    const Plan plan = Plan::of<TILE, TAPS>(job);
    const i64 v_size = POINTS * odd_lines(plan.largest() * job.in_blocks),
              m_size = UNIT * POINTS * odd_lines(plan.largest());
    if (plan.shared) all_together<TILE, TAPS>(job, plan, v_size, m_size);
    else each_thread_alone<TILE, TAPS>(job, plan, v_size, m_size);
}
}  // namespace

void winograd_layer(InMap<real> x, const SquareFilters& filters, const real* u, i64 tile, const real* bias,
                    InMap<real> residual, Dims padding, i64 pool, Act act, OutMap<real> y) {
    const i64 channels = filters.channels;
    Job job{x,
            residual,
            y,
            filters,
            u,
            bias,
            channels,
            ceil_div(channels, BLOCK),
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
    if (filters.side == 2) run<4, 2>(job);
    else if (filters.side == 5) run<2, 5>(job);
    else if (tile == 2) run<2, 3>(job);
    else if (tile == 4) run<4, 3>(job);
    else run<6, 3>(job);
}

void winograd_conv(InMap<real> x, In<real> weight, In<real> u, i64 tile, In<real> bias, InMap<real> residual,
                   Dims padding, i64 pool, Act act, OutMap<real> y) {
    winograd_layer(x, square_filters(weight), u.data, tile, bias.data, residual, padding, pool, act, y);
}
END_KERNELS
