// dw[k, c, tap] = sum over samples and outputs of dy[k, o] x[c, o stride + tap dilation - padding]: a matrix product whose reduction runs over
// outputs, in order. Both operands lie with outputs contiguous, so panels are transposed while they are packed: WIDTH rows of im2col at a time
// for the columns of dw, ROWS filters at a time for its rows. A group with one channel and few filters goes tap by tap as dot products instead.
#include "gemm/gemm.h"
#include "columns.h"
#include "planar.h"

BEGIN_KERNELS

constexpr i64 CHUNK = 4 * WIDTH;   // outputs a step of the reduction, as four panels side by side
constexpr i64 MOST_PANELS = 4;

struct WeightGradient {
    Convolution conv;         // y holds dy, weight is not used
    TapList     t;
    real*       dw;
    i64 columns() const { return conv.channels * t.count; }
};

// One chunk of outputs, [first, first + length) counted over all samples, in panels of WIDTH.
struct Chunk {
    Run  runs[CHUNK];
    int  panels, run_count[4];
    i64  length[4];
};

static void cut_chunk(const TapList& t, i64 first, i64 length, Chunk& chunk) {
    chunk.panels = (int)ceil_div(length, WIDTH);
    for (int p = 0; p < chunk.panels; ++p) {
        chunk.length[p]    = clamp(length - p * WIDTH, 0, WIDTH);
        chunk.run_count[p] = cut_runs(t, first + p * WIDTH, first + p * WIDTH + chunk.length[p], chunk.runs + p * WIDTH);
    }
}

// Rows [first, first + count) of im2col (channel, tap) at a chunk of outputs, each CHUNK long. `moves` is workspace.
static void column_rows(const WeightGradient& g, i64 group, i64 first, i64 count, const Chunk& chunk, Move* moves, real* rows) {
    const i64 plane = g.conv.xs.spatial(), taps = g.t.count, stride = g.t.in_stride.w;
    for (int p = 0; p < chunk.panels; ++p) {
        const int vectors = (int)ceil_div(chunk.length[p], LANES);
        const int move_count = plan_moves(g.conv, g.t, chunk.runs + p * WIDTH, chunk.run_count[p], vectors, moves);
        for (int m = 0; m < move_count;) {   // a tap's moves serve all its channels
            int end = m + 1;
            while (end < move_count && moves[end].joins) ++end;
            const i64   tap = moves[m].row, channel = ceil_div(first - tap, taps) > 0 ? ceil_div(first - tap, taps) : 0;
            const real* x   = g.conv.x + (group * g.conv.channels + channel) * plane;
            real*       dst = rows + (channel * taps + tap - first) * CHUNK + p * WIDTH + moves[m].vector * LANES;
            real* const stop = rows + count * CHUNK;
            if (end == m + 1) {
                for (; dst < stop; dst += taps * CHUNK, x += plane) store(dst, load_move(x + moves[m].offset, moves[m], stride));
            } else {
                for (; dst < stop; dst += taps * CHUNK, x += plane) {
                    V v{};
                    for (int q = m; q < end; ++q) v = as_real(as_int(v) | as_int(load_move(x + moves[q].offset, moves[q], stride)));
                    store(dst, v);
                }
            }
            m = end;
        }
    }
}

static void gradient_task(const WeightGradient& g, i64 group, i64 tile0, i64 tile1, i64 panel0, i64 panel1) {
    const i64 outputs = g.t.outputs(), width = g.columns(), panels = panel1 - panel0;
    Scratch<Chunk> chunk(1);
    Scratch<Move>  moves(most_moves(g.t, WIDTH));
    Scratch<real>  rows(panels * WIDTH * CHUNK), b(panels * CHUNK * WIDTH), a(ROWS * CHUNK), tiles((tile1 - tile0) * panels * ROWS * WIDTH);
    const real zeros[ROWS] = {};
    bool begun = false;
    for (i64 n = 0; n < g.conv.xs.n; ++n)
        for (i64 o = 0; o < outputs; o += CHUNK, begun = true) {
            const i64 depth = outputs - o < CHUNK ? outputs - o : CHUNK;
            cut_chunk(g.t, n * outputs + o, depth, *chunk.data);
            column_rows(g, group, panel0 * WIDTH, clamp(width - panel0 * WIDTH, 0, panels * WIDTH), *chunk.data, moves, rows);
            for (i64 p = 0; p < panels; ++p) {
                const i64 count = clamp(width - (panel0 + p) * WIDTH, 0, WIDTH);
                pack_columns_transposed(rows + p * WIDTH * CHUNK, CHUNK, depth, count, (int)ceil_div(count, LANES), b + p * CHUNK * WIDTH);
            }
            for (i64 tile = tile0; tile < tile1; ++tile) {
                const i64   k  = tile * ROWS;
                const real* dy = g.conv.y + (n * g.conv.ys.c + group * g.conv.filters + k) * outputs + o;
                pack_rows<ROWS>(dy, outputs, (int)clamp(g.conv.filters - k, 0, ROWS), depth, a);
                for (i64 p = 0; p < panels; ++p) {
                    const int vectors = (int)ceil_div(clamp(width - (panel0 + p) * WIDTH, 0, WIDTH), LANES);
                    gemm_tile(vectors, depth, a, b + p * CHUNK * WIDTH, tiles + ((tile - tile0) * panels + p) * ROWS * WIDTH,
                              vectors * LANES, begun ? nullptr : zeros);
                }
            }
        }
    for (i64 tile = tile0; tile < tile1; ++tile)
        for (i64 p = 0; p < panels; ++p) {
            const i64 first = (panel0 + p) * WIDTH, count = clamp(width - first, 0, WIDTH), stride = ceil_div(count, LANES) * LANES;
            for (i64 i = 0; i < ROWS && tile * ROWS + i < g.conv.filters; ++i)
                std::memcpy(g.dw + (group * g.conv.filters + tile * ROWS + i) * width + first,
                            tiles + (((tile - tile0) * panels + p) * ROWS) * WIDTH + i * stride, count * sizeof(real));
        }
}

static void gradient_by_gemm(const WeightGradient& g) {
    const i64 panels = ceil_div(g.columns(), WIDTH), filter_tiles = ceil_div(g.conv.filters, ROWS), threads = threads_now();
    i64 panel_groups = ceil_div(panels, MOST_PANELS), filter_groups = 1;
    if (g.conv.groups * panel_groups < threads) panel_groups = clamp(ceil_div(threads, g.conv.groups), 1, panels);
    if (g.conv.groups * panel_groups < threads) filter_groups = clamp(threads, 1, filter_tiles);
    parallel_tasks(g.conv.groups * panel_groups * filter_groups, [&](i64 task) {
        const i64 group = task / (panel_groups * filter_groups), p = task / filter_groups % panel_groups, f = task % filter_groups;
        gradient_task(g, group, filter_tiles * f / filter_groups, filter_tiles * (f + 1) / filter_groups, panels * p / panel_groups,
                      panels * (p + 1) / panel_groups);
    });
}

// One input channel a group: every (filter, tap) is a dot product of dy with a shifted plane, read from a padded strip.
static void taps_task(const WeightGradient& g, i64 group, i64 filter0, i64 filter1, i64 rows, const Strip& s, const PhaseFill* fills, real* strip,
                      V* acc) {
    const TapList& t = g.t;
    const i64 x_row = t.in_stride.h * s.row(), width = t.grid.w, filters = g.conv.filters;
    for (i64 i = filter0 * t.count; i < filter1 * t.count; ++i) acc[i] = V{};
    for (i64 n = 0; n < g.conv.xs.n; ++n)
        for (i64 od = 0; od < t.grid.d; ++od)
            for (i64 oh = 0; oh < t.grid.h; oh += rows) {
                fill_strip(g.conv, t, s, fills, n, group, od, oh, strip);
                const i64 count = clamp(t.grid.h - oh, 0, rows);
                for (i64 k = filter0; k < filter1; ++k) {
                    const real* dy = g.conv.y + (((n * g.conv.ys.c + group * filters + k) * t.grid.d + od) * t.grid.h + oh) * width;
                    for (i64 tap = 0; tap < t.count; ++tap) {
                        const real* x = strip + tap_offset(s, t.taps[tap]);
                        V sum = acc[k * t.count + tap];
                        for (i64 r = 0; r < count; ++r)
                            for_vectors(width, [&](i64 w, auto lanes) { sum += lanes.load(dy + r * width + w) * lanes.load(x + r * x_row + w); });
                        acc[k * t.count + tap] = sum;
                    }
                }
            }
    for (i64 i = filter0 * t.count; i < filter1 * t.count; ++i) g.dw[group * filters * t.count + i] = hsum(acc[i]);
}

static void gradient_by_taps(const WeightGradient& g) {
    const i64 rows = strip_rows(g.conv, g.t), filters = g.conv.filters;
    const i64 shares = g.conv.groups < threads_now() ? clamp(threads_now(), 1, filters) : 1;
    const Strip s = strip_of(g.t, rows);
    parallel_for(g.conv.groups * shares, 1 + 30000 / (g.conv.xs.n * g.t.outputs() * g.t.count + 1), [&](i64 begin, i64 end) {
        Scratch<real>      strip(s.plane() + 2 * LANES);
        Scratch<V>         acc(filters * g.t.count);
        Scratch<PhaseFill> fills(s.phases);
        for (i64 p = 0; p < s.phases; ++p) fills[p] = phase_fill(s, p, g.conv.xs.w);
        for (i64 task = begin; task < end; ++task) {
            const i64 share = task % shares;
            taps_task(g, task / shares, filters * share / shares, filters * (share + 1) / shares, rows, s, fills, strip, acc);
        }
    });
}

void conv_weight_gradient(In<real> x, In<real> dy, Dims stride, Dims padding, Dims dilation, i64 groups, Out<real> dw) {
    const Extent kernel = extent(dw), ys = extent(dy);
    Scratch<Tap> taps(kernel.spatial());
    const WeightGradient g{{x.data, nullptr, nullptr, const_cast<real*>(dy.data), extent(x), ys, groups, kernel.c, kernel.n / groups, 0, 0, 0},
                           whole_filter(kernel, ys, stride, padding, dilation, taps), dw.data};
    if (ys.n * ys.spatial() == 0) {
        for (i64 i = 0; i < dw.size(); ++i) dw.data[i] = 0;
        return;
    }
    if (kernel.c == 1 && kernel.n / groups <= ROWS) gradient_by_taps(g);
    else gradient_by_gemm(g);
}

END_KERNELS
