// 3x3 convolutions of stride 1 by Winograd's algorithm (winograd_transform.h), fused: tiles of the input are transformed, multiplied by the
// transformed filters at every point (winograd_multiply.h), and transformed back with the epilogue, a cacheful of tiles at a time.
//
// Two plans. Where there is a group of tiles for every thread, each takes batches of tiles through all stages, so that what lies between
// the stages stays in its L2, and streams the filters from wherever they are. Fewer tiles: threads make the transformed input together
// and then share out the filters, so that these are read once.
//
// Every value is the same chain of operations whatever the plan, the batch of tiles, the threads, or a tile's place at a border: there
// the columns outside the image are zeros in the strip that all tiles are made from.
#include "winograd_multiply.h"
#include "winograd_tiles.h"

BEGIN_KERNELS
namespace {
constexpr i64 UNIT  = BV == 1 ? 2 : 1;   // blocks of filters that are multiplied together

// Sizes measured on Zen 4 (L2 1 MB, L3 32 MB for all cores).
constexpr i64 PRIVATE_BYTES = 800 << 10;   // V and M of a batch that a thread has to itself
constexpr i64 FEW_FILTERS   = 4 << 20;     // bytes of filters that may be read again for every such batch; with more of them
constexpr i64 PRIVATE_MORE  = 2 << 20;     // batches are larger
constexpr i64 SHARED_BYTES  = 16 << 20;    // V of a batch that all threads work on

i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

struct Job {
    InMap<real>  x, residual;
    OutMap<real> y;
    const real  *u, *bias;
    i64 channels, in_blocks, pad_h, pad_w;
    i64 rows, columns;              // of the result before pooling, as far as it is used
    i64 tiles_h, tiles_w, tiles;    // tiles: of all samples
    bool pool;
    Epilogue epilogue;
};

// Tiles [begin, begin + count) of all samples, in groups for the register tile: `larger` of size + 1 tiles, then the rest of `size`.
struct Batch {
    i64 begin, count, groups, size, larger;
    Batch(i64 begin, i64 end)
        : begin(begin), count(end - begin), groups(ceil_div(count, GROUP)), size(count / groups), larger(count % groups) {}
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
};

// Where tiles [first, first + n) of the batch lie within a point of V.
void find_places(const Batch& batch, i64 in_blocks, i64 block, i64 first, i64 n, i64* place) {
    for (i64 i = 0; i < n; ++i) {
        const i64  tile = first + i, end = batch.start(batch.larger);   // of the larger groups
        const bool large = tile < end;
        const i64  size = batch.size + large, start = large ? tile / size * size : end + (tile - end) / size * size;
        place[i] = (start * in_blocks + size * block + tile - start) * BLOCK;
    }
}

// V of tiles [first, last) of the batch, of one block of channels.
template <int TILE> void make_v(const Job& job, const Batch& batch, i64 block, i64 first, i64 last, real* v) {
    constexpr i64 RUN = STRIP / TILE;
    i64 place[RUN];
    while (first < last) {
        const i64 tile = batch.begin + first, across = tile % job.tiles_w, down = tile / job.tiles_w % job.tiles_h;
        const i64 n    = at_most(at_most(last - first, job.tiles_w - across), RUN);
        find_places(batch, job.in_blocks, block, first, n, place);
        transform_tiles<TILE>({job.x.at(tile / job.tiles_w / job.tiles_h, block), job.x.h, job.x.w}, down * TILE - job.pad_h, across * TILE - job.pad_w,
                              place, n, v, batch.v_point(job.in_blocks));
        first += n;
    }
}

// M of the groups [first, last) of `size` tiles, of `blocks` (at most UNIT) blocks of filters, at one point.
void multiply(const Job& job, const Piece& piece, i64 first, i64 last, i64 size, i64 blocks, const real* v, Filters f) {
    if (first >= last) return;
    const Batch& batch = piece.batch;
    const Groups groups{v + batch.start(first) * job.in_blocks * BLOCK, job.in_blocks * size * BLOCK, last - first};
    f.m += (batch.start(first) - piece.begin()) * BLOCK;
    f.ahead += (first - piece.first) * f.ahead_next * job.channels;
    if (BV == 1) {
        if (blocks == 2) multiply_groups<2>((int)size, groups, job.channels, f);
        else multiply_groups<1>((int)size, groups, job.channels, f);
        return;
    }
    f.u_next = f.m_next = LANES;
    for (int part = 0; part < BLOCK; part += 2 * LANES, f.u += 2 * LANES, f.m += 2 * LANES) multiply_groups<2>((int)size, groups, job.channels, f);
}

// M of `blocks` (at most UNIT) blocks of filters from `block` on.
template <int TILE> void make_m(const Job& job, const Piece& piece, i64 block, i64 blocks, const real* v, real* m) {
    constexpr i64 POINTS = Winograd<TILE>::POINTS;
    const Batch& batch = piece.batch;
    const i64 u_point = job.channels * BLOCK, m_point = piece.m_point();
    const i64 split   = at_most(piece.last, batch.larger > piece.first ? batch.larger : piece.first);   // from here on groups are smaller
    for (i64 point = 0; point < POINTS; ++point, v += batch.v_point(job.in_blocks)) {
        const real* u = job.u + (block * POINTS + point) * u_point;
        const Filters f{u, POINTS * u_point, m + point * m_point, POINTS * m_point,
                        (const char*)(u + (point + 1 < POINTS ? 1 : (blocks - 1) * POINTS + 1) * u_point),
                        BLOCK * (i64)sizeof(real) / (piece.last - piece.first)};
        multiply(job, piece, piece.first, split, batch.size + 1, blocks, v, f);
        multiply(job, piece, split, piece.last, batch.size, blocks, v, f);
    }
}

void pool_tile(const real* from, i64 side, real* to) {
    for (i64 i = 0; i < side / 2; ++i)
        for (i64 j = 0; j < side / 2; ++j)
            for (int part = 0; part < BLOCK; part += LANES) {
                const real *top = from + (2 * i * side + 2 * j) * BLOCK + part, *bottom = top + side * BLOCK;
                store(to + (i * (side / 2) + j) * BLOCK + part,
                      pool_max(pool_max(load(top), load(top + BLOCK)), pool_max(load(bottom), load(bottom + BLOCK))));
            }
}

void copy_rows(const real* from, i64 from_row, i64 rows, i64 values, real* to, i64 to_row) {
    for (i64 i = 0; i < rows; ++i)
        for (i64 k = 0; k < values; k += LANES) store(to + i * to_row + k, load(from + i * from_row + k));
}

// A tile of a block of filters from its points to y. By way of a buffer if it reaches beyond y, or if its activation runs on what was stored.
template <int TILE> void make_y(const Job& job, i64 tile, i64 block, const real* m, i64 m_point) {
    const i64 across = tile % job.tiles_w, down = tile / job.tiles_w % job.tiles_h, n = tile / job.tiles_w / job.tiles_h;
    const i64 rows = at_most(TILE, job.rows - down * TILE), columns = at_most(TILE, job.columns - across * TILE), scale = job.pool ? 2 : 1;
    const i64 offset = (down * TILE / scale * job.y.w + across * TILE / scale) * BLOCK, y_row = job.y.w * BLOCK;
    const real* bias     = job.bias ? job.bias + block * BLOCK : nullptr;
    const real* residual = job.residual ? job.residual.at(n, block) + offset : nullptr;
    real*       y        = job.y.at(n, block) + offset;
    if (rows == TILE && columns == TILE && job.epilogue.kind == CLAMP) {
        if (job.pool) finish_tile<TILE, POOLED>(m, m_point, bias, nullptr, 0, job.epilogue, y, y_row);
        else if (residual) finish_tile<TILE, WITH_RESIDUAL>(m, m_point, bias, residual, y_row, job.epilogue, y, y_row);
        else finish_tile<TILE, PLAIN>(m, m_point, bias, nullptr, 0, job.epilogue, y, y_row);
        return;
    }
    constexpr i64 ROW = TILE * BLOCK;
    alignas(64) real whole[TILE * ROW], other[TILE * ROW] = {};
    if (residual) {
        copy_rows(residual, y_row, rows, columns * BLOCK, other, ROW);
        finish_tile<TILE, WITH_RESIDUAL>(m, m_point, bias, other, ROW, job.epilogue, whole, ROW);
    } else {
        finish_tile<TILE, PLAIN>(m, m_point, bias, nullptr, 0, job.epilogue, whole, ROW);
    }
    job.epilogue.finish(whole, TILE * ROW);
    if (job.pool) pool_tile(whole, TILE, other);
    copy_rows(job.pool ? other : whole, ROW / scale, rows / scale, columns / scale * BLOCK, y, y_row);
}

// Up to UNIT blocks of filters from `block` on, at the tiles of a piece.
template <int TILE> void make_outputs(const Job& job, const Piece& piece, i64 block, const real* v, real* m) {
    constexpr i64 POINTS = Winograd<TILE>::POINTS;
    const i64 blocks = at_most(UNIT, job.y.blocks - block), m_point = piece.m_point();
    make_m<TILE>(job, piece, block, blocks, v, m);
    for (i64 b = 0; b < blocks; ++b)
        for (i64 i = 0; i < piece.count(); ++i)
            make_y<TILE>(job, piece.batch.begin + piece.begin() + i, block + b, m + b * POINTS * m_point + i * BLOCK, m_point);
}

// How the tiles are cut into batches.
struct Plan {
    i64  tiles, batches, step;   // batches begin at multiples of `step`
    bool shared;

    template <int TILE> static Plan of(const Job& job) {
        const i64 point_bytes  = Winograd<TILE>::POINTS * BLOCK * (i64)sizeof(real), threads = threads_now();
        const i64 filter_bytes = job.y.blocks * job.channels * point_bytes, tile_bytes = (job.in_blocks + UNIT) * point_bytes;
        const bool shared  = job.tiles < GROUP * threads;
        const i64  room    = shared ? SHARED_BYTES : filter_bytes > FEW_FILTERS ? PRIVATE_MORE : PRIVATE_BYTES;
        const i64  most    = room / tile_bytes / GROUP * GROUP;
        const i64  batches = ceil_div(job.tiles, most < GROUP ? GROUP : most), step = job.tiles < 16 * GROUP * threads ? 1 : GROUP;
        return {job.tiles, shared ? batches : at_most(ceil_div(batches, threads) * threads, ceil_div(job.tiles, step)), step, shared};
    }
    i64 begin(i64 batch) const { return at_most(ceil_div(tiles, step) * batch / batches * step, tiles); }
    Batch operator[](i64 batch) const { return Batch(begin(batch), begin(batch + 1)); }
    i64 largest() const { return ceil_div(ceil_div(tiles, step), batches) * step; }
};

template <int TILE> void each_thread_alone(const Job& job, const Plan& plan, i64 v_size, i64 m_size) {
    parallel_for(plan.batches, 1, [&](i64 begin, i64 end) {
        Scratch<real> v(v_size), m(m_size);
        for (i64 i = begin; i < end; ++i) {
            const Batch batch = plan[i];
            for (i64 block = 0; block < job.in_blocks; ++block) make_v<TILE>(job, batch, block, 0, batch.count, v);
            for (i64 block = 0; block < job.y.blocks; block += UNIT) make_outputs<TILE>(job, {batch, 0, batch.groups}, block, v, m);
        }
    });
}

template <int TILE> void all_together(const Job& job, const Plan& plan, i64 v_size, i64 m_size) {
    Scratch<real> v(v_size);
    const i64 threads = threads_now(), units = ceil_div(job.y.blocks, UNIT);
    for (i64 i = 0; i < plan.batches; ++i) {
        const Batch batch = plan[i];
        const i64 parts = at_most(threads, batch.count);
        parallel_for(job.in_blocks * parts, 1, [&](i64 begin, i64 end) {
            for (i64 at = begin; at < end; ++at)
                make_v<TILE>(job, batch, at / parts, batch.count * (at % parts) / parts, batch.count * (at % parts + 1) / parts, v);
        });
        // Where units of filters do not come out even among the threads, tiles are shared out as well.
        const i64 pieces = job.y.blocks % (UNIT * threads) == 0 ? 1 : at_most(ceil_div(4 * threads, units), batch.groups);
        parallel_tasks(units * pieces, [&](i64 task) {
            Scratch<real> m(m_size);
            const i64 piece = task % pieces;
            make_outputs<TILE>(job, {batch, batch.groups * piece / pieces, batch.groups * (piece + 1) / pieces}, task / pieces * UNIT, v, m);
        });
    }
}

template <int TILE> void run(const Job& job) {
    constexpr i64 POINTS = Winograd<TILE>::POINTS;
    const Plan plan = Plan::of<TILE>(job);
    const i64 v_size = POINTS * odd_lines(plan.largest() * job.in_blocks), m_size = UNIT * POINTS * odd_lines(plan.largest());
    if (plan.shared) all_together<TILE>(job, plan, v_size, m_size);
    else each_thread_alone<TILE>(job, plan, v_size, m_size);
}
}  // namespace

void winograd_conv(InMap<real> x, i64 channels, In<real> u, i64 tile, In<real> bias, InMap<real> residual, Dims padding, bool pool,
                   i64 activation, double a, double b, OutMap<real> y) {
    const i64 scale = pool ? 2 : 1;
    Job job{x, residual, y, u.data, bias.data, channels, ceil_div(channels, BLOCK), padding[0], padding[1],
            y.h * scale, y.w * scale, ceil_div(y.h * scale, tile), ceil_div(y.w * scale, tile), 0, pool, Epilogue(activation, a, b)};
    job.tiles = y.n * job.tiles_h * job.tiles_w;
    if (!job.tiles || !y.blocks) return;
    if (tile == 2) run<2>(job);
    else if (tile == 4) run<4>(job);
    else run<6>(job);
}
END_KERNELS
