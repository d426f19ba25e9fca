// 1 x r and r x 1 convolutions of stride 1 by Winograd's F(m, r) along the filter's axis
// (winograd_transform.h): m outputs of a line take m + r - 1 multiplications in place of m r, with r = 3, 5
// or 7. Tiles of all lines are transformed, multiplied at every point (winograd_batch.h) and transformed
// back with the epilogue, a cacheful of them at a time.
//
// Many batches: each thread takes some through all stages. Fewer: threads make the transformed input
// together and then share out the filters. Tiles that hold outliers are computed directly, by the rule of
// winograd_uneven.h along the line. Every value is the same chain of operations whatever the batch,
// the threads, or a tile's place at a border, where pixels outside the image are zeros.
#include "convolution/blocked_tile.h"
#include "winograd_batch.h"
#include "winograd_uneven.h"

BEGIN_KERNELS
namespace {
constexpr i64 BATCH_BYTES = 600 << 10;   // of V: half of the L2 of Zen 4 and 5
constexpr i64 BATCHES_ALONE = 8;         // a thread: with fewer of them threads would wait for each other

// Lines along the filter's axis. `step`: values from a pixel to the next, the same in x and y.
struct Job {
    InMap<real> x, residual;
    OutMap<real> y;
    SquareFilters filters;   // of r taps in place of side x side
    const real *u, *bias;
    i64 channels, in_blocks, padding;
    bool down;               // lines are columns
    i64 length, results;     // pixels of a line, and of its result
    i64 lines, step, per_line, tiles;   // lines of a sample, tiles of all
    Epilogue epilogue;
};

// A tile: its sample and line, its first output and how many there are of it, and its place within a point
// of V, `next` values from a block of channels to the next.
struct Tile {
    i64 n, line, first, count, place, next;
    bool uneven;

    Tile(const Job& job, i64 tile, i64 side) {   // side by side in memory: those of columns go across the lines
        const i64 sample = job.lines * job.per_line, inner = job.down ? job.lines : job.per_line,
                  a = tile % sample / inner, b = tile % inner;
        n = tile / sample, line = job.down ? b : a, first = (job.down ? a : b) * side;
        count = at_most(side, job.results - first);
    }
    // where pixel `at` of the line lies in a plane of rows of `w` pixels
    i64 offset(const Job& job, i64 at, i64 w) const {
        return (job.down ? at * w + line : line * w + at) * BLOCK;
    }
};

// V of some tiles, of one block of channels.
template <int TILE, int TAPS>
void make_v(const Job& job, const Tile* tile, const Tile* last, i64 block, real* v, i64 point) {
    constexpr int SIDE = TILE + TAPS - 1;
    for (; tile < last; ++tile) {
        const i64 begin = tile->first - job.padding;
        const real *plane = job.x.at(tile->n, block), *from[SIDE];
        const bool inside = begin >= 0 && begin + SIDE <= job.length;
        const real* at = plane + tile->offset(job, inside ? begin : 0, job.x.w);
        #pragma GCC unroll 16
        for (int i = 0; i < SIDE; ++i) from[i] = at + i * job.step;
        if (!inside)
            for (int i = 0; i < SIDE; ++i)
                from[i] = begin + i >= 0 && begin + i < job.length ? at + (begin + i) * job.step : zero_row;
        real* to = v + tile->place + block * tile->next;
        for (int part = 0; part < BLOCK; part += LANES) {
            V d[SIDE], t[SIDE];
            #pragma GCC unroll 16
            for (int i = 0; i < SIDE; ++i) d[i] = load(from[i] + part);
            transform_input<TILE, TAPS>(d, t);
            #pragma GCC unroll 16
            for (int i = 0; i < SIDE; ++i) store(to + i * point + part, t[i]);
        }
    }
}

// Sums of squares over the channels of each pixel, in rows of `pitch`.
struct Energies {
    i64 pitch;
    Scratch<real> values;
    explicit Energies(const Job& job)
        : pitch(ceil_div(job.x.w, LANES) * LANES), values(job.x.n * job.x.h * pitch) {
        parallel_for(job.x.n * job.x.h, 1 + 4096 / (job.x.w * job.in_blocks + 1), [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i)
                row_energies(job.x, i / job.x.h, i % job.x.h, job.channels, 0, job.x.w, values + i * pitch);
        });
    }
};

// By the rule of winograd_uneven.h, and if a pixel outweighs all others by LARGEST_TAP: where filters are
// longer than tiles every output may see it, and some by a small tap.
template <int TILE, int TAPS> bool is_uneven(const Job& job, const Energies& energies, const Tile& tile) {
    constexpr int SIDE = TILE + TAPS - 1;
    const i64 step = job.down ? energies.pitch : 1;
    const real* line = energies.values + (tile.n * job.x.h + (job.down ? 0 : tile.line)) * energies.pitch
                       + (job.down ? tile.line : 0);
    real pixel[SIDE], all = 0, peak = 0, least = INFINITE;
    for (i64 i = 0; i < SIDE; ++i) {
        const i64 at = tile.first - job.padding + i;
        pixel[i] = at >= 0 && at < job.length ? line[at * step] : 0;
        all += pixel[i];
        peak = pixel[i] > peak ? pixel[i] : peak;
    }
    for (i64 i = 0; i < tile.count; ++i) {
        real window = 0;
        for (i64 tap = 0; tap < TAPS; ++tap) window += pixel[i + tap];
        least = window < least ? window : least;
    }
    return !(all < INFINITE && all * TAPS <= LARGEST_SQUARE * SIDE * least   // also if it is NaN
             && peak <= LARGEST_TAP * (all - peak));
}

// The tiles of a batch.
template <int TILE, int TAPS>
void find_tiles(const Job& job, const Energies& energies, const Batch& batch, Tile* tiles) {
    i64 i = 0;
    for (i64 group = 0; group < batch.groups; ++group) {
        const i64 start = batch.start(group), size = batch.start(group + 1) - start;
        for (; i < start + size; ++i) {
            Tile& tile = tiles[i] = Tile(job, batch.begin + i, TILE);
            tile.place = (start * job.in_blocks + i - start) * BLOCK, tile.next = size * BLOCK;
            tile.uneven = is_uneven<TILE, TAPS>(job, energies, tile);
        }
    }
}

// A tile of a block of filters from its points to y.
template <int TILE, int TAPS> void make_y(const Job& job, const Tile& p, i64 block, const real* m, i64 m_point) {
    constexpr int SIDE = TILE + TAPS - 1;
    const i64 offset = p.offset(job, p.first, job.y.w);
    const real* residual = job.residual ? job.residual.at(p.n, block) + offset : nullptr;
    real* y = job.y.at(p.n, block) + offset;
    for (int part = 0; part < BLOCK; part += LANES) {
        V point[SIDE], out[TILE];
        #pragma GCC unroll 16
        for (int i = 0; i < SIDE; ++i) point[i] = load(m + i * m_point + part);
        transform_output<TILE, TAPS>(point, out);
        const V b = job.bias ? load(job.bias + block * BLOCK + part) : V{};
        #pragma GCC unroll 8
        for (int i = 0; i < TILE; ++i) {
            if (i == p.count) break;
            out[i] += b;
            if (residual) out[i] += load(residual + i * job.step + part);
            store(y + i * job.step + part, job.epilogue.clamp(out[i]));
        }
    }
    if (job.epilogue.kind == Activation::CLAMP) return;
    if (!job.down) job.epilogue.finish(y, p.count * BLOCK);
    else
        for (i64 i = 0; i < p.count; ++i) job.epilogue.finish(y + i * job.step, BLOCK);
}

void copy_pixels(const real* from, i64 from_step, i64 count, real* to, i64 to_step) {
    for (i64 i = 0; i < count; ++i)
        for (int part = 0; part < BLOCK; part += LANES)
            store(to + i * to_step + part, load(from + i * from_step + part));
}

// The uneven tiles of a piece, of one block of filters: the chains of multiply-adds that a direct
// convolution makes.
template <int TILE, int TAPS>
__attribute__((noinline)) void make_directly(const Job& job, const Piece& piece, i64 block, const Tile* tiles) {
    constexpr i64 SIDE = TILE + TAPS - 1;
    constexpr int PIXELS = TILE < most_pixels(1) ? TILE : most_pixels(1);
    static_assert(TILE % PIXELS == 0);
    Scratch<real> packed(job.in_blocks * TAPS * BLOCK * BLOCK), patch(job.in_blocks * SIDE * BLOCK);
    pack_direct(job.filters, TAPS, block, packed);
    TileTap taps[TAPS];
    for (int t = 0; t < TAPS; ++t) taps[t] = {t * BLOCK, t * BLOCK * BLOCK};
    const Reduction sum{taps, TAPS, job.channels, SIDE * BLOCK, TAPS * BLOCK * BLOCK, 0};
    for (i64 i = 0; i < piece.count(); ++i) {
        const Tile& p = tiles[i];
        if (!p.uneven) continue;
        const i64 begin = p.first - job.padding, offset = p.offset(job, p.first, job.y.w);
        for (i64 b = 0; b < job.in_blocks; ++b)
            for (i64 k = 0; k < SIDE; ++k) {
                const bool inside = begin + k >= 0 && begin + k < job.length;
                copy_pixels(inside ? job.x.at(p.n, b) + p.offset(job, begin + k, job.x.w) : zero_row, 0, 1,
                            patch + (b * SIDE + k) * BLOCK, 0);
            }
        alignas(64) real values[TILE * BLOCK], other[TILE * BLOCK] = {};
        if (job.residual) copy_pixels(job.residual.at(p.n, block) + offset, job.step, p.count, other, BLOCK);
        for (i64 at = 0; at < TILE; at += PIXELS) {
            const Target target{values + at * BLOCK, job.residual ? other + at * BLOCK : nullptr, BLOCK, 0, 0,
                                job.bias ? job.bias + block * BLOCK : nullptr};
            convolve_tile<PIXELS, 1, BLOCK>(patch + at * BLOCK, packed, sum, target, job.epilogue);
        }
        copy_pixels(values, BLOCK, p.count, job.y.at(p.n, block) + offset, job.step);
    }
}

// Up to UNIT blocks of filters from `block` on, at the tiles of a piece.
template <int TILE, int TAPS>
void make_outputs(const Job& job, const Piece& piece, i64 block, const real* v, real* m, const Tile* tiles) {
    constexpr i64 POINTS = TILE + TAPS - 1;
    const i64 blocks = at_most(UNIT, job.y.blocks - block), m_point = piece.m_point();
    tiles += piece.begin();
    make_m(piece, {job.u, job.channels, POINTS}, block, blocks, v, m);
    for (i64 b = 0; b < blocks; ++b) {
        bool left = false;
        for (i64 i = 0; i < piece.count(); ++i)
            if (tiles[i].uneven) left = true;
            else make_y<TILE, TAPS>(job, tiles[i], block + b, m + b * POINTS * m_point + i * BLOCK, m_point);
        if (left) make_directly<TILE, TAPS>(job, piece, block + b, tiles);
    }
}

template <int TILE, int TAPS> void run(const Job& job) {
    constexpr i64 POINTS = TILE + TAPS - 1;
    const i64 threads = threads_now(),
              most = BATCH_BYTES / (POINTS * job.in_blocks * BLOCK * (i64)sizeof(real)) / GROUP,
              batches = ceil_div(job.tiles, (most < 1 ? 1 : most) * GROUP),
              largest = ceil_div(job.tiles, batches);
    const i64 v_size = POINTS * odd_lines(largest * job.in_blocks), m_size = UNIT * POINTS * odd_lines(largest);
    const auto batch_of = [&](i64 i) { return Batch(job.tiles * i / batches, job.tiles * (i + 1) / batches); };
    const Energies energies(job);
    if (threads == 1 || batches >= BATCHES_ALONE * threads) {
        parallel_for(batches, 1, [&](i64 begin, i64 end) {
            Scratch<real> v(v_size), m(m_size);
            Scratch<Tile> tiles(largest);
            for (i64 i = begin; i < end; ++i) {
                const Batch batch = batch_of(i);
                find_tiles<TILE, TAPS>(job, energies, batch, tiles);
                for (i64 block = 0; block < job.in_blocks; ++block)
                    make_v<TILE, TAPS>(job, tiles, tiles + batch.count, block, v, batch.v_point(job.in_blocks));
                for (i64 block = 0; block < job.y.blocks; block += UNIT)
                    make_outputs<TILE, TAPS>(job, {batch, 0, batch.groups}, block, v, m, tiles);
            }
        });
        return;
    }
    Scratch<real> v(v_size);
    Scratch<Tile> tiles(largest);
    const i64 units = ceil_div(job.y.blocks, UNIT);
    for (i64 i = 0; i < batches; ++i) {
        const Batch batch = batch_of(i);
        const i64 parts = at_most(threads, batch.count);
        find_tiles<TILE, TAPS>(job, energies, batch, tiles);
        parallel_for(job.in_blocks * parts, 1, [&](i64 begin, i64 end) {
            for (i64 at = begin; at < end; ++at)
                make_v<TILE, TAPS>(job, tiles + batch.count * (at % parts) / parts,
                                   tiles + batch.count * (at % parts + 1) / parts, at / parts, v,
                                   batch.v_point(job.in_blocks));
        });
        // where units of filters do not come out even among the threads, tiles are shared out as well
        const i64 pieces = job.y.blocks % (UNIT * threads) == 0
                               ? 1
                               : at_most(ceil_div(4 * threads, units), batch.groups);
        parallel_tasks(units * pieces, [&](i64 task) {
            Scratch<real> m(m_size);
            const i64 piece = task % pieces;
            make_outputs<TILE, TAPS>(job, {batch, batch.groups * piece / pieces, batch.groups * (piece + 1) / pieces},
                                     task / pieces * UNIT, v, m, tiles);
        });
    }
}

// G w, for a block of filters at a time
template <int TILE, int TAPS> void transform_filters(In<real> weight, real* u) {
    constexpr Winograd<TILE, TAPS> winograd;
    constexpr i64 SIDE = winograd.SIDE;
    const i64 filters = weight.dim(0), channels = weight.dim(1);
    double g[SIDE][TAPS];
    for (int i = 0; i < SIDE; ++i) winograd.filter_row(i, g[i]);
    parallel_for(ceil_div(filters, BLOCK) * channels, 64, [&](i64 begin, i64 end) {
        for (i64 at = begin; at < end; ++at) {
            const i64 block = at / channels, c = at % channels, some = at_most(BLOCK, filters - block * BLOCK);
            const real* from = weight.data + (block * BLOCK * channels + c) * TAPS;
            for (i64 i = 0; i < SIDE; ++i) {
                real* to = u + ((block * SIDE + i) * channels + c) * BLOCK;
                for (i64 k = 0; k < BLOCK; ++k) {
                    double sum = 0;
                    for (i64 t = 0; t < TAPS && k < some; ++t) sum += g[i][t] * from[k * channels * TAPS + t];
                    to[k] = (real)sum;
                }
            }
        }
    });
}

// The pairs of a tile and taps that there are (graph/contracts/blocked.py).
template <class Call> void with_sizes(i64 tile, i64 taps, Call call) {
    if (taps == 3 && tile == 4) call(std::integral_constant<int, 4>{}, std::integral_constant<int, 3>{});
    else if (taps == 3) call(std::integral_constant<int, 6>{}, std::integral_constant<int, 3>{});
    else if (taps == 5 && tile == 4) call(std::integral_constant<int, 4>{}, std::integral_constant<int, 5>{});
    else if (taps == 5) call(std::integral_constant<int, 6>{}, std::integral_constant<int, 5>{});
    else if (tile == 2) call(std::integral_constant<int, 2>{}, std::integral_constant<int, 7>{});
    else call(std::integral_constant<int, 4>{}, std::integral_constant<int, 7>{});
}
}  // namespace

void winograd_line_weights(In<real> weight, i64 tile, Out<real> u) {
    with_sizes(tile, weight.dim(2), [&](auto m, auto r) { transform_filters<m(), r()>(weight, u.data); });
}

void winograd_line(InMap<real> x, In<real> weight, In<real> u, i64 tile, i64 axis, In<real> bias, InMap<real> residual,
                   i64 padding, Act act, OutMap<real> y) {
    const i64 channels = weight.dim(1), taps = weight.dim(2);
    const bool down = axis == 0;
    Job job{x, residual, y, {weight.data, weight.dim(0), channels, taps * channels, taps, false, 0},
            u.data, bias.data, channels, ceil_div(channels, BLOCK), padding, down,
            down ? x.h : x.w, down ? y.h : y.w, down ? y.w : y.h, down ? y.w * BLOCK : BLOCK, 0, 0, Epilogue(act)};
    job.per_line = ceil_div(job.results, tile);
    job.tiles = y.n * job.lines * job.per_line;
    if (!job.tiles || !y.blocks) return;
    with_sizes(tile, taps, [&](auto m, auto r) { run<m(), r()>(job); });
}
END_KERNELS
