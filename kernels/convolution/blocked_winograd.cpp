// 3x3 convolutions of stride 1 by Winograd's algorithm (winograd_transform.h), fused: tiles of the input are transformed, multiplied by the
// transformed filters at every point (winograd_multiply.h), and transformed back with the epilogue, a cacheful of tiles at a time.
//
// Two plans. Many tiles: each thread takes batches of tiles through all stages, so that what lies between the stages stays in its L2, and
// streams the filters from wherever they are. Filters that outweigh the caches: threads make the transformed input of a large batch together
// and then share out the filters, so that these are read once a batch.
//
// Every value is the same chain of operations whatever the plan, the batch of tiles, the threads, or a tile's place at a border: there
// the columns outside the image are zeros in the strip that all tiles are made from.
#include "winograd_multiply.h"
#include "winograd_transform.h"

BEGIN_KERNELS
namespace {
constexpr i64 STRIP = 48;   // outputs along a row that are transformed at once: the strip, of m + 2 rows, stays in L1
constexpr i64 UNIT  = BV == 1 ? 2 : 1;   // blocks of filters that are multiplied together
alignas(64) const real zeros[(STRIP + 2) * BLOCK] = {};

i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }
i64 at_most(i64 a, i64 b) { return a < b ? a : b; }

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

// Tiles [begin, begin + count) of all samples, cut into groups of nearly equal size for the register tile.
struct Batch {
    i64 begin, count, groups;
    Batch(i64 begin, i64 end) : begin(begin), count(end - begin), groups(ceil_div(count, GROUP)) {}
    i64 start(i64 group) const { return count * group / groups; }
    int size(i64 group) const { return (int)(start(group + 1) - start(group)); }
    // Values from a point to the next: an odd number of cache lines, so that points do not share a set of the cache.
    i64 v_point(i64 in_blocks) const { return (count * in_blocks | 1) * BLOCK; }
    i64 m_point() const { return (count | 1) * BLOCK; }
};

// Where tiles [first, first + n) of the batch lie within a point of V.
void find_places(const Batch& batch, i64 in_blocks, i64 block, i64 first, i64 n, i64* place) {
    i64 group = first * batch.groups / batch.count;
    for (i64 i = 0; i < n; ++i) {
        while (batch.start(group + 1) <= first + i) ++group;
        const i64 start = batch.start(group);
        place[i] = (start * in_blocks + batch.size(group) * block + first + i - start) * BLOCK;
    }
}

// V of tiles [first, last) of the batch, of one block of channels.
template <int TILE> void make_v(const Job& job, const Batch& batch, i64 block, i64 first, i64 last, real* v) {
    constexpr i64 RUN = STRIP / TILE, SIDE = TILE + 2, ROW = (STRIP + 3) * BLOCK;   // an odd number of lines
    alignas(64) real strip[SIDE * ROW];
    i64 place[RUN];
    while (first < last) {
        const i64 tile = batch.begin + first, across = tile % job.tiles_w, down = tile / job.tiles_w % job.tiles_h;
        const i64 n    = at_most(at_most(last - first, job.tiles_w - across), RUN), values = (n * TILE + 2) * BLOCK;
        const i64 x0   = across * TILE - job.pad_w, y0 = down * TILE - job.pad_h;
        const i64 left = x0 < 0 ? at_most(-x0 * BLOCK, values) : 0, right = at_most((job.x.w - x0) * BLOCK, values);
        const real* image = job.x.at(tile / job.tiles_w / job.tiles_h, block);
        if (left < right) {
            const real* rows[SIDE];
            for (i64 i = 0; i < SIDE; ++i)
                rows[i] = y0 + i < 0 || y0 + i >= job.x.h ? zeros : image + ((y0 + i) * job.x.w + x0) * BLOCK + left;
            transform_columns<TILE>(rows, right - left, strip + left, ROW);
        }
        for (i64 i = 0; i < SIDE; ++i) {
            for (i64 k = 0; k < left; k += LANES) store(strip + i * ROW + k, V{});
            for (i64 k = right > left ? right : left; k < values; k += LANES) store(strip + i * ROW + k, V{});
        }
        find_places(batch, job.in_blocks, block, first, n, place);
        transform_rows<TILE>(strip, ROW, place, n, v, batch.v_point(job.in_blocks));
        first += n;
    }
}

// M of `blocks` (at most UNIT) blocks of filters from `block` on.
template <int TILE> void make_m(const Job& job, const Batch& batch, i64 block, i64 blocks, const real* v, real* m) {
    constexpr i64 POINTS = Winograd<TILE>::POINTS;
    const i64 u_point = job.channels * BLOCK, v_point = batch.v_point(job.in_blocks), m_point = batch.m_point();
    for (i64 point = 0; point < POINTS; ++point) {
        const real* u = job.u + (block * POINTS + point) * u_point;
        for (i64 group = 0; group < batch.groups; ++group) {
            const real* from = v + point * v_point + batch.start(group) * job.in_blocks * BLOCK;
            real*       to   = m + point * m_point + batch.start(group) * BLOCK;
            if (BV == 1) {
                const Filters f{u, POINTS * u_point, to, POINTS * m_point};
                if (blocks == 2) multiply_group<2>(batch.size(group), from, job.channels, f);
                else multiply_group<1>(batch.size(group), from, job.channels, f);
            } else {
                for (int part = 0; part < BLOCK; part += 2 * LANES)
                    multiply_group<2>(batch.size(group), from, job.channels, {u + part, LANES, to + part, LANES});
            }
        }
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

// Blocks [first, last) of filters at all tiles of the batch.
template <int TILE> void make_outputs(const Job& job, const Batch& batch, i64 first, i64 last, const real* v, real* m) {
    constexpr i64 POINTS = Winograd<TILE>::POINTS;
    for (i64 block = first; block < last; block += UNIT) {
        const i64 blocks = at_most(UNIT, last - block);
        make_m<TILE>(job, batch, block, blocks, v, m);
        for (i64 b = 0; b < blocks; ++b)
            for (i64 i = 0; i < batch.count; ++i)
                make_y<TILE>(job, batch.begin + i, block + b, m + b * POINTS * batch.m_point() + i * BLOCK, batch.m_point());
    }
}

template <int TILE> void run(const Job& job) {
    constexpr i64 POINTS = Winograd<TILE>::POINTS;
    const i64 filter_bytes = job.y.blocks * job.channels * POINTS * BLOCK * (i64)sizeof(real);
    const i64 tile_bytes   = (job.in_blocks + UNIT) * BLOCK * POINTS * (i64)sizeof(real);   // of V and M
    const bool shared = filter_bytes > (4 << 20);
    i64 most = (shared ? 16 << 20 : 600 << 10) / tile_bytes;
    if (most < GROUP) most = GROUP;
    i64 batches = ceil_div(job.tiles, most);
    if (!shared) batches = at_most(ceil_div(batches, pyops_threads) * pyops_threads, job.tiles);
    const i64 largest = ceil_div(job.tiles, batches);
    const i64 v_size = (largest * job.in_blocks + 1) * BLOCK * POINTS, m_size = (largest + 1) * BLOCK * POINTS * UNIT;
    const auto batch_of = [&](i64 i) { return Batch(job.tiles * i / batches, job.tiles * (i + 1) / batches); };
    if (!shared) {
        parallel_for(batches, 1, [&](i64 begin, i64 end) {
            Scratch<real> v(v_size), m(m_size);
            for (i64 i = begin; i < end; ++i) {
                const Batch batch = batch_of(i);
                for (i64 block = 0; block < job.in_blocks; ++block) make_v<TILE>(job, batch, block, 0, batch.count, v);
                make_outputs<TILE>(job, batch, 0, job.y.blocks, v, m);
            }
        });
        return;
    }
    Scratch<real> v(v_size);
    for (i64 i = 0; i < batches; ++i) {
        const Batch batch = batch_of(i);
        parallel_for(job.in_blocks, 1, [&](i64 begin, i64 end) {
            for (i64 block = begin; block < end; ++block) make_v<TILE>(job, batch, block, 0, batch.count, v);
        });
        const i64 units = ceil_div(job.y.blocks, UNIT);
        parallel_for(units, 1, [&](i64 begin, i64 end) {
            Scratch<real> m(m_size);
            make_outputs<TILE>(job, batch, begin * UNIT, at_most(end * UNIT, job.y.blocks), v, m);
        });
    }
}

template <int TILE> void transform_filters(In<real> weight, Out<real> u) {
    constexpr int SIDE = TILE + 2, POINTS = SIDE * SIDE;
    constexpr Winograd<TILE> w;
    double g[SIDE][3];
    for (int i = 0; i < SIDE; ++i) w.filter_row(i, g[i]);
    const i64 filters = weight.dim(0), channels = weight.dim(1);
    parallel_for(u.dim(0), 1 + 4096 / (channels * POINTS + 1), [&](i64 begin, i64 end) {
        for (i64 block = begin; block < end; ++block)
            for (i64 c = 0; c < channels; ++c)
                for (i64 k = 0; k < BLOCK; ++k) {
                    real* to = u.data + (block * POINTS * channels + c) * BLOCK + k;
                    if (block * BLOCK + k >= filters) {
                        for (int point = 0; point < POINTS; ++point) to[point * channels * BLOCK] = 0;
                        continue;
                    }
                    const real* f = weight.data + ((block * BLOCK + k) * channels + c) * 9;
                    for (int i = 0; i < SIDE; ++i) {
                        double row[3];   // of G g
                        for (int s = 0; s < 3; ++s) row[s] = g[i][0] * f[s] + g[i][1] * f[3 + s] + g[i][2] * f[6 + s];
                        for (int j = 0; j < SIDE; ++j)
                            to[(i * SIDE + j) * channels * BLOCK] = (real)(row[0] * g[j][0] + row[1] * g[j][1] + row[2] * g[j][2]);
                    }
                }
    });
}
}  // namespace

void winograd_weights(In<real> weight, i64 tile, Out<real> u) {
    if (tile == 2) transform_filters<2>(weight, u);
    else if (tile == 4) transform_filters<4>(weight, u);
    else transform_filters<6>(weight, u);
}

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
