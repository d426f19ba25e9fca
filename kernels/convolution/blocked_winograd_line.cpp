// Convolutions of stride 1 whose filters lie along one axis of an image, or along the depth of a volume, by
// Winograd's F(m, r) (winograd_transform.h): m outputs of a line take m + r - 1 multiplications in place of
// m r, with r = 3, 5 or 7. Tiles of all lines are transformed, multiplied at every point (winograd_batch.h)
// and transformed back with the epilogue, a cacheful of them at a time.
//
// Many batches: each thread takes some through all stages. Fewer: threads make the transformed input
// together and then share out the filters. Tiles that hold outliers are computed directly. Every value is the
// same chain of operations whatever the batch, the threads, or a tile's place at a border, where pixels
// outside the image are zeros.
#include "convolution/blocked_tile.h"
#include "gemm/gemm.h"
#include "winograd_batch.h"
#include "winograd_uneven.h"

BEGIN_KERNELS
namespace {
constexpr i64 BATCH_BYTES = 600 << 10;   // of V: half of the L2 of Zen 4 and 5
constexpr i64 FEW_FILTERS = 512 << 10;   // that each thread meets in its own cache
constexpr i64 BATCHES_ALONE = 8;         // a thread: with fewer of them threads would wait for each other
constexpr i64 RUN = 32;                  // tiles side by side whose pixels stay in cache from their energies to V

// How lines along the filter's axis lie in a map: values from a sample, block, line or pixel to the next.
struct Lines {
    i64 sample, plane, line, step;
};

enum Axis { COLUMNS,   // filters r x 1
            ROWS,
            DEPTH };   // samples are slices of volumes, the depth outermost

template <class Map> Lines lines_of(const Map& map, Axis axis, i64 samples, i64 phases) {
    if (axis == ROWS) return {map.sample, map.plane(), map.w * BLOCK, phases * BLOCK};
    return {map.sample, map.plane(), BLOCK, axis == COLUMNS ? map.w * BLOCK : samples * map.sample};
}

struct Job {
    InMap<real> x, residual;
    OutMap<real> y;
    SquareFilters filters;   // of r taps in place of side x side
    const real *u, *bias;
    i64 channels, in_blocks, padding;
    i64 samples, lines, length, results;   // lines of a sample, their pixels, and those of the result
    i64 phases;              // a row with a dilation is as many lines, whose pixels take turns
    Axis axis;
    Lines in, out, add;      // of x, y and residual
    i64 per_line, tiles;     // tiles of a line, and of all samples
    Epilogue epilogue;
    // tiles side by side are those of lines side by side
    bool across() const { return axis != ROWS || phases > 1; }
};

// A tile: its sample, line and phase, its first output and how many there are of it, and its place within a point
// of V, `next` values from a block of channels to the next.
struct Tile {
    i64 n, line, phase, first, count, place, next;
    bool uneven;

    Tile(const Job& job, i64 tile, i64 side) {
        const i64 sample = job.lines * job.phases * job.per_line, inner = job.axis == ROWS ? job.phases : job.lines,
                  a = tile % sample / inner, b = tile % inner;
        n = tile / sample;
        if (job.axis == ROWS) line = a / job.per_line, phase = b, first = a % job.per_line * side;
        else line = b, phase = 0, first = a * side;
        count = at_most(side, job.results - first);
    }
    i64 offset(const Lines& in, i64 block, i64 at) const {
        return n * in.sample + block * in.plane + line * in.line + phase * BLOCK + at * in.step;
    }
};

// V of some tiles, of one block of channels.
template <int TILE, int TAPS>
void transform_block(const Job& job, const Tile* tile, const Tile* last, i64 block, real* v, i64 point) {
    constexpr int SIDE = TILE + TAPS - 1;
    for (; tile < last; ++tile) {
        const i64 begin = tile->first - job.padding;
        const real* from[SIDE];
        const bool inside = begin >= 0 && begin + SIDE <= job.length;
        const real* at = job.x.data + tile->offset(job.in, block, inside ? begin : 0);
        #pragma GCC unroll 16
        for (int i = 0; i < SIDE; ++i) from[i] = at + i * job.in.step;
        if (!inside)
            for (int i = 0; i < SIDE; ++i)
                from[i] = begin + i >= 0 && begin + i < job.length ? at + (begin + i) * job.in.step : zero_row;
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

// Which of `n` tiles side by side are uneven, `pixel` values from a tile's pixel to the next, `next` to that of the
// next tile: by the rule of winograd_uneven.h, and if a pixel outweighs all others by LARGEST_TAP. Where filters
// are longer than tiles every output may see it, and some by a small tap.
template <int TILE, int TAPS> void compare(const real* energy, i64 pixel, i64 next, Tile* tile, i64 n) {
    constexpr int SIDE = TILE + TAPS - 1;
    for (; n-- > 0; ++tile, energy += next) {
        real all = 0, peak = 0, least = INFINITE;
        for (i64 i = 0; i < SIDE; ++i) {
            const real e = energy[i * pixel];
            all += e;
            peak = e > peak ? e : peak;
        }
        for (i64 i = 0; i < tile->count; ++i) {
            real window = 0;
            for (i64 tap = 0; tap < TAPS; ++tap) window += energy[(i + tap) * pixel];
            least = window < least ? window : least;
        }
        tile->uneven = !(all < INFINITE && all * TAPS <= LARGEST_SQUARE * SIDE * least   // also if it is NaN
                         && peak <= LARGEST_TAP * (all - peak));
    }
}

// The same from the map, n <= RUN: sums of squares over the channels of each pixel, zeros outside the image.
template <int TILE, int TAPS> void mark_uneven(const Job& job, Tile* tile, i64 n) {
    constexpr int SIDE = TILE + TAPS - 1;
    constexpr i64 ROW = RUN + LANES;
    alignas(64) real energy[SIDE * ROW] = {};
    const i64 begin = tile->first - job.padding;
    if (!job.across()) {
        const i64 first = begin > 0 ? begin : 0, last = at_most(begin + (n - 1) * TILE + SIDE, job.length);
        if (first < last)
            row_energies(job.x, tile->n, tile->line, job.channels, first, last, energy + first - begin);
        compare<TILE, TAPS>(energy, 1, TILE, tile, n);
        return;
    }
    for (i64 i = 0; i < SIDE; ++i) {
        const i64 at = begin + i;
        if (at < 0 || at >= job.length) continue;
        const i64 sample = job.axis == DEPTH ? at * job.samples + tile->n : tile->n,
                  row = job.axis == DEPTH ? 0 : job.axis == ROWS ? tile->line : at,
                  first = job.axis == ROWS ? at * job.phases + tile->phase : tile->line;
        row_energies(job.x, sample, row, job.channels, first, first + n, energy + i * ROW);
    }
    compare<TILE, TAPS>(energy, ROW, 1, tile, n);
}

// V of tiles [tile, last), and which of them are uneven.
template <int TILE, int TAPS> void make_v(const Job& job, Tile* tile, Tile* last, real* v, i64 point) {
    while (tile < last) {
        i64 n = 1;
        while (n < RUN && tile + n < last && tile[n].n == tile->n
               && (!job.across() || tile[n].first == tile->first) && (job.axis != ROWS || tile[n].line == tile->line))
            ++n;
        mark_uneven<TILE, TAPS>(job, tile, n);
        for (i64 block = 0; block < job.in_blocks; ++block)
            transform_block<TILE, TAPS>(job, tile, tile + n, block, v, point);
        tile += n;
    }
}

// The tiles of a batch.
void find_tiles(const Job& job, const Batch& batch, i64 side, Tile* tiles) {
    i64 i = 0;
    for (i64 group = 0; group < batch.groups; ++group) {
        const i64 start = batch.start(group), size = batch.start(group + 1) - start;
        for (; i < start + size; ++i) {
            Tile& tile = tiles[i] = Tile(job, batch.begin + i, side);
            tile.place = (start * job.in_blocks + i - start) * BLOCK, tile.next = size * BLOCK;
        }
    }
}

// A tile of a block of filters from its points to y.
template <int TILE, int TAPS> void make_y(const Job& job, const Tile& p, i64 block, const real* m, i64 m_point) {
    constexpr int SIDE = TILE + TAPS - 1;
    const real* residual = job.residual ? job.residual.data + p.offset(job.add, block, p.first) : nullptr;
    real* y = job.y.data + p.offset(job.out, block, p.first);
    const Clamp clamp(job.epilogue);
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
            if (residual) out[i] += load(residual + i * job.add.step + part);
            store(y + i * job.out.step + part, clamp(out[i]));
        }
    }
    if (job.epilogue.kind == Activation::CLAMP) return;
    if (job.out.step == BLOCK) job.epilogue.finish(y, p.count * BLOCK);
    else
        for (i64 i = 0; i < p.count; ++i) job.epilogue.finish(y + i * job.out.step, BLOCK);
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
        const i64 begin = p.first - job.padding;
        for (i64 b = 0; b < job.in_blocks; ++b)
            for (i64 k = 0; k < SIDE; ++k) {
                const bool inside = begin + k >= 0 && begin + k < job.length;
                copy_pixels(inside ? job.x.data + p.offset(job.in, b, begin + k) : zero_row, 0, 1,
                            patch + (b * SIDE + k) * BLOCK, 0);
            }
        alignas(64) real values[TILE * BLOCK], other[TILE * BLOCK] = {};
        if (job.residual)
            copy_pixels(job.residual.data + p.offset(job.add, block, p.first), job.add.step, p.count, other, BLOCK);
        for (i64 at = 0; at < TILE; at += PIXELS) {
            const Target target{values + at * BLOCK, job.residual ? other + at * BLOCK : nullptr, BLOCK, 0, 0,
                                job.bias ? job.bias + block * BLOCK : nullptr};
            convolve_tile<PIXELS, 1, BLOCK>(patch + at * BLOCK, packed, sum, target, job.epilogue);
        }
        copy_pixels(values, BLOCK, p.count, job.y.data + p.offset(job.out, block, p.first), job.out.step);
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
              fewest = ceil_div(job.tiles, (most < 1 ? 1 : most) * GROUP),
              filter_bytes = job.y.blocks * POINTS * job.channels * BLOCK * (i64)sizeof(real);
    // Each thread alone, where filters stay in its cache: what one core has written another may wait long for
    const bool alone = threads == 1 || fewest >= BATCHES_ALONE * threads ||
                       (filter_bytes <= FEW_FILTERS && job.tiles >= 2 * GROUP * threads);
    const i64 even = 2 * ceil_div(fewest, 2 * threads) * threads;   // a late thread leaves some to others
    const i64 batches = alone && threads > 1 ? at_most(even, ceil_div(job.tiles, GROUP)) : fewest,
              largest = ceil_div(job.tiles, batches);
    const i64 v_size = POINTS * odd_lines(largest * job.in_blocks), m_size = UNIT * POINTS * odd_lines(largest);
    const auto batch_of = [&](i64 i) { return Batch(job.tiles * i / batches, job.tiles * (i + 1) / batches); };
    if (alone) {
        parallel_for(batches, 1, [&](i64 begin, i64 end) {
            Scratch<real> v(v_size), m(m_size);
            Scratch<Tile> tiles(largest);
            for (i64 i = begin; i < end; ++i) {
                const Batch batch = batch_of(i);
                find_tiles(job, batch, TILE, tiles);
                make_v<TILE, TAPS>(job, tiles, tiles + batch.count, v, batch.v_point(job.in_blocks));
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
        find_tiles(job, batch, TILE, tiles);
        parallel_for(batch.count, 8, [&](i64 begin, i64 end) {
            make_v<TILE, TAPS>(job, tiles + begin, tiles + end, v, batch.v_point(job.in_blocks));
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

// G w in double, for a block of filters and some channels at a time: each point gets some lines of memory side by side
template <int TILE, int TAPS> void transform_filters(In<real> weight, real* u) {
    constexpr Winograd<TILE, TAPS> winograd;
    constexpr i64 SIDE = winograd.SIDE, TOGETHER = 16;
    const i64 filters = weight.dim(0), channels = weight.dim(1), pieces = ceil_div(channels, TOGETHER);
    double g[SIDE][TAPS];
    for (int i = 0; i < SIDE; ++i) winograd.filter_row(i, g[i]);
    parallel_for(ceil_div(filters, BLOCK) * pieces, 4, [&](i64 begin, i64 end) {
        alignas(64) real taps[TOGETHER * TAPS * BLOCK];
        for (i64 at = begin; at < end; ++at) {
            const i64 block = at / pieces, c0 = at % pieces * TOGETHER, count = at_most(TOGETHER, channels - c0);
            pack_rows<BLOCK>(weight.data + (block * BLOCK * channels + c0) * TAPS, channels * TAPS,
                             (int)at_most(BLOCK, filters - block * BLOCK), count * TAPS, taps);
            for (i64 i = 0; i < SIDE; ++i) {
                real* const to = u + ((block * SIDE + i) * channels + c0) * BLOCK;
                for (i64 c = 0; c < count; ++c)
                    for (i64 k = 0; k < BLOCK; ++k) {
                        double sum = 0;
                        #pragma GCC unroll 8
                        for (i64 t = 0; t < TAPS; ++t) sum += g[i][t] * taps[(c * TAPS + t) * BLOCK + k];
                        to[c * BLOCK + k] = (real)sum;
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

// x of `samples` samples or volumes, of `lines` lines of `length` pixels each, y of `results`.
void convolve_lines(InMap<real> x, In<real> weight, In<real> u, i64 tile, Axis axis, i64 samples, i64 lines,
                    i64 length, i64 results, i64 phases, In<real> bias, InMap<real> residual, i64 padding, Act act,
                    OutMap<real> y) {
    const i64 channels = weight.dim(1), taps = weight.dim(2), per_line = ceil_div(results, tile);
    const Job job{x,
                  residual,
                  y,
                  {weight.data, weight.dim(0), channels, taps * channels, taps, false, 0},
                  u.data,
                  bias.data,
                  channels,
                  ceil_div(channels, BLOCK),
                  padding,
                  samples,
                  lines,
                  length,
                  results,
                  phases,
                  axis,
                  lines_of(x, axis, samples, phases),
                  lines_of(y, axis, samples, phases),
                  lines_of(residual, axis, samples, phases),
                  per_line,
                  samples * lines * phases * per_line,
                  Epilogue(act)};
    if (!job.tiles || !y.blocks) return;
    with_sizes(tile, taps, [&](auto m, auto r) { run<m(), r()>(job); });
}
}  // namespace

void winograd_line_weights(In<real> weight, i64 tile, Out<real> u) {
    with_sizes(tile, weight.dim(2), [&](auto m, auto r) { transform_filters<m(), r()>(weight, u.data); });
}

void winograd_line(InMap<real> x, In<real> weight, In<real> u, i64 tile, i64 axis, In<real> bias, InMap<real> residual,
                   i64 padding, i64 dilation, Act act, OutMap<real> y) {
    if (axis == 1) {
        convolve_lines(x, weight, u, tile, Axis::ROWS, y.n, y.h, x.w / dilation, y.w / dilation, dilation, bias,
                       residual, padding / dilation, act, y);
        return;
    }
    const auto phases = [=](auto map) {   // as many rows side by side are one
        map.h /= dilation, map.w *= dilation;
        return map;
    };
    const i64 length = x.h / dilation, results = y.h / dilation;
    convolve_lines(phases(x), weight, u, tile, COLUMNS, y.n, y.w * dilation, length, results, 1, bias, phases(residual),
                   padding / dilation, act, phases(y));
}

void winograd_depth(InMap<real> x, In<real> weight, In<real> u, i64 tile, i64 volumes, In<real> bias,
                    InMap<real> residual, i64 padding, Act act, OutMap<real> y) {
    if (!volumes) return;
    const auto flat = [](auto map) {   // an image is one row, whose pixels begin lines
        map.w *= map.h, map.h = 1;
        return map;
    };
    convolve_lines(flat(x), weight, u, tile, DEPTH, volumes, y.h * y.w, x.n / volumes, y.n / volumes, 1, bias,
                   flat(residual), padding, act, flat(y));
}
END_KERNELS
