// dw[k, c, tap] = sum over samples and outputs of dy[k, o] x[c, o stride + tap dilation - padding]:
// a matrix product whose reduction runs over outputs. Both operands lie with outputs contiguous, so
// panels are transposed while they are packed: WIDTH rows of im2col at a time for the columns of
// dw, ROWS filters at a time for its rows. Few filters, or long rows, go tap by tap as dot products
// instead.
#include "gemm/gemm.h"
#include "columns.h"
#include "planar.h"
#if defined(REAL_f32)
#include "direct_planar.h"
#include "stride_two.h"
#include "winograd_gradient.h"
#endif

BEGIN_KERNELS

// outputs a step of the reduction, as four panels side by side; they may come from several samples
constexpr i64 CHUNK = 4 * WIDTH;
constexpr i64 MOST_PANELS = 8;

struct WeightGradient {
    Convolution conv;         // y holds dy, weight is not used
    TapList     t;
    real*       dw;
    i64 columns() const { return conv.channels * t.count; }
};

// The columns of dw in panels of nearly equal width: a last one of a single vector would keep few
// registers busy and threads uneven.
struct ColumnPanels {
    i64 columns, count;
    i64 first(i64 panel) const { return clamp(ceil_div(columns, LANES) * panel / count * LANES, 0, columns); }
    i64 width(i64 panel) const { return first(panel + 1) - first(panel); }
};

// One chunk of outputs, [first, first + depth) counted over all samples, in panels of WIDTH, and
// where the columns find their inputs.
struct Chunk {
    Run   runs[WIDTH];
    int   panels, vectors[CHUNK / WIDTH], move_count[CHUNK / WIDTH];
    Move* moves[CHUNK / WIDTH];
};

static void plan_chunk(const WeightGradient& g, i64 first, i64 depth, Chunk& chunk, Move* room) {
    chunk.panels = (int)ceil_div(depth, WIDTH);
    for (int p = 0; p < chunk.panels; ++p) {
        const i64 begin = p * WIDTH, length = clamp(depth - begin, 0, WIDTH);
        const int run_count = cut_runs(g.t, first + begin, first + begin + length, chunk.runs);
        chunk.vectors[p]    = (int)ceil_div(length, LANES);
        chunk.moves[p]      = room;
        chunk.move_count[p] = plan_moves(g.conv, g.t, chunk.runs, run_count, chunk.vectors[p], room);
        room += chunk.move_count[p];
    }
}

// Rows [first, first + count) of im2col (channel, tap) at a chunk of outputs, each CHUNK long; the
// chunk was planned on input x.
static void column_rows(const WeightGradient& g, const real* x, i64 group, i64 first, i64 count,
                        const Chunk& chunk, real* rows) {
    const i64 plane = g.conv.xs.spatial(), taps = g.t.count, stride = g.t.in_stride.w;
    for (int p = 0; p < chunk.panels; ++p) {
        const Move* const moves = chunk.moves[p];
        const int move_count = chunk.move_count[p];
        for (int m = 0; m < move_count;) {   // a tap's moves serve all its channels
            int end = m + 1;
            while (end < move_count && moves[end].joins) ++end;
            const i64 tap = moves[m].row,
                      channel = ceil_div(first - tap, taps) > 0 ? ceil_div(first - tap, taps) : 0;
            const real* from = x + (group * g.conv.channels + channel) * plane;
            real* dst = rows + (channel * taps + tap - first) * CHUNK + p * WIDTH + moves[m].vector * LANES;
            real* const stop = rows + count * CHUNK;
            if (end == m + 1) {
                for (; dst < stop; dst += taps * CHUNK, from += plane)
                    store(dst, load_move(from + moves[m].offset, moves[m], stride));
            } else {
                for (; dst < stop; dst += taps * CHUNK, from += plane) {
                    V v{};
                    for (int q = m; q < end; ++q)
                        v = as_real(as_int(v) | as_int(load_move(from + moves[q].offset, moves[q], stride)));
                    store(dst, v);
                }
            }
            m = end;
        }
    }
}

// ROWS filters from k on at outputs [first, first + depth), packed. Outputs of several samples are
// gathered into `gathered` first.
static void pack_filters(const WeightGradient& g, i64 group, i64 k, i64 first, i64 depth, real* gathered,
                         real* a) {
    const i64 plane = g.t.outputs(), begin = first % plane;
    const int rows  = (int)clamp(g.conv.filters - k, 0, ROWS);
    const auto dy = [&](i64 at) {
        return g.conv.y + (at / plane * g.conv.ys.c + group * g.conv.filters + k) * plane + at % plane;
    };
    if (begin + depth <= plane) {
        pack_rows<ROWS>(dy(first), plane, rows, depth, a);
        return;
    }
    for (i64 at = 0; at < depth;) {
        const i64   left = plane - (first + at) % plane, length = left < depth - at ? left : depth - at;
        const real* from = dy(first + at);
        for (int r = 0; r < rows; ++r)
            std::memcpy(gathered + r * CHUNK + at, from + r * plane, length * sizeof(real));
        at += length;
    }
    pack_rows<ROWS>(gathered, CHUNK, rows, depth, a);
}

// The sums of some tiles of filters and panels of columns, [tile][panel][ROWS x WIDTH], as
// they grow chunk by chunk.
struct Sums {
    const WeightGradient& g;
    const ColumnPanels&   columns;
    i64 group, tile0, tile1, panel0, panel1;
    Scratch<real> tiles, rows, b, a, gathered;
    bool begun = false;

    Sums(const WeightGradient& g, const ColumnPanels& columns, i64 group, i64 tile0, i64 tile1, i64 panel0,
         i64 panel1)
        : g(g), columns(columns), group(group), tile0(tile0), tile1(tile1), panel0(panel0), panel1(panel1),
          tiles((tile1 - tile0) * (panel1 - panel0) * ROWS * WIDTH), rows(width() * CHUNK),
          b((panel1 - panel0) * CHUNK * WIDTH), a(ROWS * CHUNK), gathered(ROWS * CHUNK) {}
    i64   column0() const { return columns.first(panel0); }
    i64   width() const { return columns.first(panel1) - column0(); }
    real* tile(i64 tile, i64 panel) const {
        return tiles + ((tile - tile0) * (panel1 - panel0) + panel - panel0) * ROWS * WIDTH;
    }

    // Adds outputs [first, first + depth), counted over all samples, planned on input x.
    void add(i64 first, i64 depth, const real* x, const Chunk& chunk) {
        const real zeros[ROWS] = {};
        column_rows(g, x, group, column0(), width(), chunk, rows);
        for (i64 p = panel0; p < panel1; ++p)
            pack_columns_transposed(rows + (columns.first(p) - column0()) * CHUNK, CHUNK, depth,
                                    columns.width(p), (int)ceil_div(columns.width(p), LANES),
                                    b + (p - panel0) * CHUNK * WIDTH);
        for (i64 t = tile0; t < tile1; ++t) {
            pack_filters(g, group, t * ROWS, first, depth, gathered, a);
            for (i64 p = panel0; p < panel1; ++p) {
                const int vectors = (int)ceil_div(columns.width(p), LANES);
                gemm_tile(vectors, depth, a, b + (p - panel0) * CHUNK * WIDTH, tile(t, p), vectors * LANES,
                          begun ? nullptr : zeros);
            }
        }
        begun = true;
    }

    void write() const {
        for (i64 t = tile0; t < tile1; ++t)
            for (i64 p = panel0; p < panel1; ++p) {
                const i64 count = columns.width(p), stride = ceil_div(count, LANES) * LANES;
                for (i64 i = 0; i < ROWS && t * ROWS + i < g.conv.filters; ++i)
                    std::memcpy(g.dw + (group * g.conv.filters + t * ROWS + i) * g.columns() +
                                    columns.first(p),
                                tile(t, p) + i * stride, count * sizeof(real));
            }
    }
};

// Small planes: chunks of outputs cross samples. Large ones: each chunk of a plane is planned once
// and then taken of all samples.
static void add_outputs(const WeightGradient& g, Sums& sums) {
    const i64 plane = g.t.outputs(), samples = g.conv.xs.n;
    Scratch<Chunk> chunk(1);
    Scratch<Move>  moves((CHUNK / WIDTH) * most_moves(g.t, WIDTH));
    if (plane < CHUNK) {
        for (i64 o = 0, depth; o < samples * plane; o += depth) {
            depth = clamp(samples * plane - o, 0, CHUNK);
            plan_chunk(g, o, depth, *chunk.data, moves);
            sums.add(o, depth, g.conv.x, *chunk.data);
        }
        return;
    }
    const i64 sample = g.conv.xs.c * g.conv.xs.spatial(), vectors = ceil_div(plane, LANES),
              steps = ceil_div(plane, CHUNK);
    for (i64 step = 0; step < steps; ++step) {
        const i64 first = vectors * step / steps * LANES,
                  depth = clamp(vectors * (step + 1) / steps * LANES, 0, plane) - first;
        plan_chunk(g, first, depth, *chunk.data, moves);
        for (i64 n = 0; n < samples; ++n)
            sums.add(n * plane + first, depth, g.conv.x + n * sample, *chunk.data);
    }
}

static void gradient_by_gemm(const WeightGradient& g) {
    const i64 threads = threads_now(), filter_tiles = ceil_div(g.conv.filters, ROWS);
    const ColumnPanels columns{g.columns(), ceil_div(g.columns(), WIDTH)};
    i64 panel_groups = ceil_div(columns.count, MOST_PANELS), filter_groups = 1;
    if (g.conv.groups % threads)
        panel_groups = clamp(ceil_div(panel_groups, threads) * threads, 1, columns.count);
    if (g.conv.groups * panel_groups < threads) filter_groups = clamp(threads, 1, filter_tiles);
    parallel_tasks(g.conv.groups * panel_groups * filter_groups, [&](i64 task) {
        const i64 group = task / (panel_groups * filter_groups), p = task / filter_groups % panel_groups,
                  f = task % filter_groups;
        Sums sums(g, columns, group, filter_tiles * f / filter_groups, filter_tiles * (f + 1) / filter_groups,
                  columns.count * p / panel_groups, columns.count * (p + 1) / panel_groups);
        add_outputs(g, sums);
        sums.write();
    });
}

// Few filters: every (filter, channel, tap) is a dot product of dy with a shifted plane, read from a padded
// strip of one channel, a tile of filters and taps at a time; nothing is transposed.
constexpr int TILE_FILTERS = 4, TILE_TAPS = LANES * sizeof(real) == 64 ? 6 : 2;

// `rows` rows of K filters' outputs, each `width` wide, with what T taps see of the strip, `x_row` values a row
template <int K, int T>
static void add_dots(const real* dy, i64 dy_filter, i64 width, i64 rows, const real* strip, const i64* offsets,
                     i64 x_row, V* sums, i64 sums_filter) {
    V acc[K][T];
    #pragma GCC unroll 4
    for (int k = 0; k < K; ++k)
        #pragma GCC unroll 8
        for (int t = 0; t < T; ++t) acc[k][t] = sums[k * sums_filter + t];
    for (i64 r = 0; r < rows; ++r, dy += width, strip += x_row)
        for_vectors(width, [&](i64 w, auto lanes) {
            V g[K];
            #pragma GCC unroll 4
            for (int k = 0; k < K; ++k) g[k] = lanes.load(dy + k * dy_filter + w);
            #pragma GCC unroll 8
            for (int t = 0; t < T; ++t) {
                const V x = lanes.load(strip + offsets[t] + w);
                #pragma GCC unroll 4
                for (int k = 0; k < K; ++k) acc[k][t] += g[k] * x;
            }
        });
    #pragma GCC unroll 4
    for (int k = 0; k < K; ++k)
        #pragma GCC unroll 8
        for (int t = 0; t < T; ++t) sums[k * sums_filter + t] = acc[k][t];
}

using AddDots = decltype(&add_dots<1, 1>);
template <int K, int... T> static AddDots dots_of(int taps, std::integer_sequence<int, T...>) {
    static constexpr AddDots table[] = {add_dots<K, T + 1>...};
    return table[taps - 1];
}
static AddDots dots_of(int filters, int taps) {
    constexpr std::make_integer_sequence<int, TILE_TAPS> all{};
    return filters == 4 ? dots_of<4>(taps, all) : filters == 2 ? dots_of<2>(taps, all) : dots_of<1>(taps, all);
}

// Adds the outputs under one strip; sums: (filters, taps).
static void add_strip(const WeightGradient& g, const real* dy, i64 filter0, i64 filter1, i64 rows,
                      const Strip& s, const i64* offsets, const real* strip, V* sums) {
    const i64 taps = g.t.count, width = g.t.grid.w, plane = g.t.outputs(),
              tiles = ceil_div(taps, TILE_TAPS), x_row = g.t.in_stride.h * s.row();
    for (i64 k = filter0; k < filter1;) {
        const int filters = filter1 - k >= TILE_FILTERS ? TILE_FILTERS : filter1 - k >= 2 ? 2 : 1;
        for (i64 tile = 0; tile < tiles; ++tile) {
            const i64 first = taps * tile / tiles, end = taps * (tile + 1) / tiles;
            dots_of(filters, int(end - first))(dy + k * plane, plane, width, rows, strip, offsets + first, x_row,
                                               sums + k * taps + first, taps);
        }
        k += filters;
    }
}

// One channel of a group with some of its filters
static void taps_task(const WeightGradient& g, i64 group, i64 channel, i64 filter0, i64 filter1, i64 rows,
                      const Strip& s, const PhaseFill* fills, const i64* offsets, real* strip, V* sums) {
    const TapList& t = g.t;
    const i64 filters = g.conv.filters, channels = g.conv.channels, taps = t.count;
    for (i64 i = filter0 * taps; i < filter1 * taps; ++i) sums[i] = V{};
    for (i64 n = 0; n < g.conv.xs.n; ++n)
        for (i64 od = 0; od < t.grid.d; ++od)
            for (i64 oh = 0; oh < t.grid.h; oh += rows) {
                fill_strip(g.conv, t, s, fills, n, group * channels + channel, od, oh, strip);
                const real* dy = g.conv.y + (n * g.conv.ys.c + group * filters) * t.outputs() +
                                 (od * t.grid.h + oh) * t.grid.w;
                add_strip(g, dy, filter0, filter1, clamp(t.grid.h - oh, 0, rows), s, offsets, strip, sums);
            }
    for (i64 k = filter0; k < filter1; ++k)
        for (i64 tap = 0; tap < taps; ++tap)
            g.dw[((group * filters + k) * channels + channel) * taps + tap] = hsum(sums[k * taps + tap]);
}

static void gradient_by_taps(const WeightGradient& g) {
    Convolution one = g.conv;
    one.channels = 1;
    const i64 rows = strip_rows(one, g.t), filters = g.conv.filters, planes = g.conv.groups * g.conv.channels;
    const i64 shares = planes < threads_now() ? clamp(threads_now(), 1, filters) : 1;
    const Strip s = strip_of(g.t, rows);
    parallel_for(planes * shares, 1 + 30000 / (g.conv.xs.n * g.t.outputs() * g.t.count + 1),
                 [&](i64 begin, i64 end) {
                     Scratch<real> strip(s.plane() + 2 * LANES);
                     Scratch<V> sums(filters * g.t.count);
                     Scratch<PhaseFill> fills(s.phases);
                     Scratch<i64> offsets(g.t.count);
                     for (i64 p = 0; p < s.phases; ++p) fills[p] = phase_fill(s, p, g.conv.xs.w);
                     for (i64 tap = 0; tap < g.t.count; ++tap) offsets[tap] = tap_offset(s, g.t.taps[tap]);
                     for (i64 task = begin; task < end; ++task) {
                         const i64 share = task % shares, plane = task / shares;
                         taps_task(g, plane / g.conv.channels, plane % g.conv.channels, filters * share / shares,
                                   filters * (share + 1) / shares, rows, s, fills, offsets, strip, sums);
                     }
                 });
}

// Shares of the multiply-adds' peak that either way reaches, as measured on Zen 4: the product packs columns
// that few filters use; a row's last vector, if it is not whole, costs twice.
static double share_by_taps(const WeightGradient& g) {
    const i64 width = g.t.grid.w, whole = width / LANES;
    if (g.t.count < 3) return 0;   // too few sums at once to hide a multiply-add's latency
    return double(width) / (LANES * (whole + 2 * (width > whole * LANES) + 0.25));
}
static double share_by_product(const WeightGradient& g) {
    return double(g.conv.filters) / (g.conv.filters + 20) * (g.conv.channels <= 4 ? 0.8 : 1);
}
static bool taps_pay(const WeightGradient& g) {
    return (g.conv.channels == 1 && g.conv.filters <= ROWS) || share_by_taps(g) > share_by_product(g);
}

static bool one_channel_fits(const WeightGradient& g) {
    Convolution one = g.conv;
    one.channels = 1;
    return strips_fit(one, g.t);
}

#if defined(REAL_f32)
// Runs the call by Winograd's algorithm if that can be done and gains time.
static bool by_winograd(const WeightGradient& g, const Extent& kernel, Dims stride, Dims padding,
                        Dims dilation) {
    const Extent &xs = g.conv.xs, &ys = g.conv.ys;
    if (kernel.d == 1 && kernel.h == 4 && kernel.w == 4 && g.conv.groups == 1 && xs.d == 1 && ys.d == 1 &&
        stride[0] == 1 && stride[1] == 2 && stride[2] == 2 && !padding[0] && padding[1] <= 3 && padding[2] <= 3 &&
        dilation[0] == 1 && dilation[1] == 1 && dilation[2] == 1)
        return winograd_stride_two_gradient({g.conv.x, g.conv.y, g.dw, xs, ys, padding[1], padding[2]});
    if (kernel.d != 1 || kernel.h != 3 || kernel.w != 3 || g.conv.groups != 1 || xs.d != 1 || ys.d != 1 ||
        padding[0])
        return false;
    for (int axis = 0; axis < 3; ++axis)
        if (stride[axis] != 1 || dilation[axis] != 1) return false;
    const Gradient3x3 gradient{g.conv.x, g.conv.y, g.dw, xs, ys, padding[1], padding[2]};
    const i64 tile = winograd_tile(gradient);
    return tile && winograd_gradient(gradient, tile);
}

static bool by_blocks(const WeightGradient& g, const Extent& kernel, Dims stride, Dims padding, Dims dilation) {
    if (is_modest(g.conv.xs, g.conv.ys, kernel, stride, dilation) &&
        depthwise_gradient_in_blocks(g.conv, kernel, stride, padding, dilation, g.dw)) return true;
    constexpr double PRODUCT = 0.8, TAPS = VECTOR_BYTES == 64 ? 0.75 : 0.5, FEW_TAPS = 0.4;   // of their shares
    const double by_taps = (g.t.count < TILE_TAPS ? FEW_TAPS : TAPS) * share_by_taps(g),
                 by_product = PRODUCT * share_by_product(g),
                 work = double(g.conv.ys.n) * g.t.outputs() * g.t.count * g.conv.channels * g.conv.ys.c / BLOCK;
    return weight_gradient_in_blocks(g.conv, g.t, work / (by_taps > by_product ? by_taps : by_product), g.dw);
}
#else
// in double every digit counts
static bool by_winograd(const WeightGradient&, const Extent&, Dims, Dims, Dims) { return false; }
static bool by_blocks(const WeightGradient&, const Extent&, Dims, Dims, Dims) { return false; }
#endif

void conv_weight_gradient(In<real> x, In<real> dy, Dims stride, Dims padding, Dims dilation, i64 groups,
                          Out<real> dw) {
    if (dw.size() == 0) return;   // no filters, or no channels
    const Extent kernel = extent(dw), ys = extent(dy);
    Scratch<Tap> taps(kernel.spatial());
    const WeightGradient g{{x.data, nullptr, nullptr, const_cast<real*>(dy.data), extent(x), ys, groups,
                            kernel.c, kernel.n / groups, 0, 0, 0},
                           whole_filter(kernel, ys, stride, padding, dilation, taps),
                           dw.data};
    if (ys.n * ys.spatial() == 0) {
        for (i64 i = 0; i < dw.size(); ++i) dw.data[i] = 0;
        return;
    }
    if (by_winograd(g, kernel, stride, padding, dilation) || by_blocks(g, kernel, stride, padding, dilation)) return;
    if (taps_pay(g) && one_channel_fits(g)) gradient_by_taps(g);
    else gradient_by_gemm(g);
}

END_KERNELS
