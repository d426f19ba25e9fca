// Convolution as a matrix product that never holds the im2col matrix: y (filters x outputs) =
// weights (filters x channels taps) times columns, of which a task packs only the panels it is
// about to use. The order of accumulation is channel by channel, tap by tap.
#pragma once
#include "gemm/gemm.h"
#include "columns.h"

namespace ISA::REAL_NAME {
// reduction rows a block: a B panel of 160 x 48 floats is 30 KB, within L1 (measured on Zen 5)
constexpr i64 DEPTH  = 160;
constexpr i64 PANELS = 8;     // most panels a task
constexpr i64 SCRATCH_BYTES = 256 * 1024;

struct Blocking {
    i64 channels, blocks;                     // channels a block of the reduction
    i64 filter_tiles, tile_stride;            // packed weights: [group][filter tile][channel][tap][ROWS]
    i64 outputs, image_panels,
        panels;   // panels over all samples; image_panels > 0: panels never cross samples
};

static inline Blocking plan(const Convolution& conv, const TapList& t) {
    Blocking b;
    b.channels     = clamp(DEPTH / (t.count ? t.count : 1), 1, conv.channels ? conv.channels : 1);
    b.blocks       = conv.channels ? ceil_div(conv.channels, b.channels) : 1;
    b.filter_tiles = ceil_div(conv.filters, ROWS);
    b.tile_stride  = conv.channels * t.count * ROWS;
    b.outputs      = t.outputs();
    b.image_panels = b.outputs >= 4 * WIDTH ? ceil_div(b.outputs, WIDTH) : 0;
    b.panels       = b.image_panels ? b.image_panels * conv.xs.n : ceil_div(b.outputs * conv.xs.n, WIDTH);
    return b;
}

// Weights of filters k ... k + ROWS - 1 of a group for channels [c0, c0 + channels), as
// [channel][tap][ROWS]; filters beyond the last are zeros.
static inline void pack_weights(const Convolution& conv, const TapList& t, i64 group, i64 k, i64 c0,
                                i64 channels, real* dst) {
    const int   rows = (int)clamp(conv.filters - k, 0, ROWS);
    const real* src  = conv.weights_of(group) + k * conv.filter_stride + c0 * conv.channel_stride;
    if (t.whole_filter && conv.channel_stride == t.count) {
        pack_rows<ROWS>(src, conv.filter_stride, rows, channels * t.count, dst);
        return;
    }
    for (i64 c = 0; c < channels; ++c)
        for (i64 tap = 0; tap < t.count; ++tap)
            for (int r = 0; r < ROWS; ++r)
                *dst++ =
                    r < rows ? src[r * conv.filter_stride + c * conv.channel_stride + t.taps[tap].index] : 0;
}

// A finished tile from scratch to its places in y.
static inline void scatter_tile(const Convolution& conv, const TapList& t, const Run* runs, int run_count,
                                i64 filter, int rows, const real* tile, i64 width) {
    for (int i = 0; i < rows; ++i)
        for (int r = 0; r < run_count; ++r) {
            const Run& run = runs[r];
            real* y =
                conv.y + (run.n * conv.ys.c + filter + i) * conv.ys.spatial() +
                offset_in(conv.ys, run.d * t.out_stride.d + t.out_offset.d,
                          run.h * t.out_stride.h + t.out_offset.h, run.w * t.out_stride.w + t.out_offset.w);
            const real* from = tile + i * width + run.column;
            if (t.out_stride.w == 1) std::memcpy(y, from, run.length * sizeof(real));
            else for (i64 j = 0; j < run.length; ++j) y[j * t.out_stride.w] = from[j];
        }
}

// A panel of outputs, and how it is packed and stored.
struct Panel {
    i64  first, length;       // outputs, counted over all samples
    int  vectors, run_count, move_count;
    Run* runs;
    Move* moves;
    bool direct;              // whole vectors, contiguous in y: tiles live there, not in scratch
};

// Where panel p lies. Panels of a sample are of nearly equal width: a last one of a single vector
// would keep few registers busy.
static inline void place_panel(const Convolution& conv, const TapList& t, const Blocking& b, i64 p,
                               Panel& panel) {
    const i64 outputs = b.image_panels ? b.outputs : b.outputs * conv.xs.n,
              panels = b.image_panels ? b.image_panels : b.panels;
    const i64 vectors = ceil_div(outputs, LANES), local = p % panels, base = p / panels * outputs;
    const i64 begin = vectors * local / panels * LANES, end = vectors * (local + 1) / panels * LANES;
    panel.first   = base + begin;
    panel.length  = (end < outputs ? end : outputs) - begin;
    panel.vectors = (int)ceil_div(panel.length, LANES);
    panel.direct = t.dense_output() && panel.length % LANES == 0 &&
                   panel.first / b.outputs == (panel.first + panel.length - 1) / b.outputs;
}

// The panels [panel0, panel1) with their runs and moves.
struct Panels {
    Panel         at[PANELS];
    i64           count;
    Scratch<Run>  runs;
    Scratch<Move> moves;

    Panels(const Convolution& conv, const TapList& t, const Blocking& b, i64 panel0, i64 panel1)
        : count(panel1 - panel0), runs(count * WIDTH), moves(locate(conv, t, b, panel0)) {
        Move* next = moves;
        if (t.padded_rows) return;
        for (i64 q = 0; q < count; ++q) {
            at[q].moves      = next;
            at[q].move_count = plan_moves(conv, t, at[q].runs, at[q].run_count, at[q].vectors, next);
            next += at[q].move_count;
        }
    }

    // Places the panels and cuts their runs; returns room for their moves.
    i64 locate(const Convolution& conv, const TapList& t, const Blocking& b, i64 panel0) {
        i64 room = 0;
        for (i64 q = 0; q < count; ++q) {
            place_panel(conv, t, b, panel0 + q, at[q]);
            at[q].runs      = runs + q * WIDTH;
            at[q].run_count = cut_runs(t, at[q].first, at[q].first + at[q].length, at[q].runs);
            if (!t.padded_rows) room += most_moves(t, at[q].run_count);
        }
        return room;
    }
};

static inline void pack(const Convolution& conv, const TapList& t, i64 first_channel, i64 channels,
                        const Panel& at, real* columns) {
    if (t.padded_rows) pack_runs(conv, t, first_channel, channels, at.vectors, at.runs, at.run_count, columns);
    else pack_panel(conv, t, first_channel, channels, at.vectors, at.moves, at.move_count, columns);
}

// What every tile of a call needs to know.
struct Job {
    const Convolution& conv;
    const TapList&     t;
    const Blocking&    b;
    const real*        starts;
    bool last(i64 block) const { return block + 1 == b.blocks; }
    i64  first_channel(i64 block) const { return block * b.channels; }
    i64  channels(i64 block) const { return clamp(conv.channels - first_channel(block), 0, b.channels); }
};

// One block of the reduction for one tile of filters and one panel. `scratch` keeps a tile
// that cannot live in y.
static inline void one_tile(const Job& job, i64 group, i64 tile, i64 block, const Panel& at, const real* a,
                            const real* columns, real* scratch) {
    const Convolution& conv = job.conv;
    const i64   filter = tile * ROWS, plane = conv.ys.spatial(), depth = job.channels(block) * job.t.count;
    const int   rows   = (int)clamp(conv.filters - filter, 0, ROWS);
    const real* start  = block ? nullptr : job.starts + (group * job.b.filter_tiles + tile) * ROWS;
    if (at.direct && rows == ROWS) {
        real* y = conv.y + (at.first / job.b.outputs * conv.ys.c + group * conv.filters + filter) * plane +
                  at.first % job.b.outputs;
        gemm_tile(at.vectors, depth, a, columns, y, plane, start);
        return;
    }
    gemm_tile(at.vectors, depth, a, columns, scratch, at.vectors * LANES, start);
    if (job.last(block))
        scatter_tile(conv, job.t, at.runs, at.run_count, group * conv.filters + filter, rows, scratch,
                     at.vectors * LANES);
}

// Many panels: filters [tile0, tile1) of a group at panels [panel0, panel1), weights packed beforehand.
static inline void panels_task(const Job& job, const real* packed, i64 group, i64 tile0, i64 tile1,
                               i64 panel0, i64 panel1) {
    const Blocking& b = job.b;
    Panels panels(job.conv, job.t, b, panel0, panel1);
    Scratch<real> columns(b.channels * job.t.count * WIDTH),
        tiles((tile1 - tile0) * panels.count * ROWS * WIDTH);
    for (i64 block = 0; block < b.blocks; ++block)
        for (i64 q = 0; q < panels.count; ++q) {
            const Panel& at = panels.at[q];
            pack(job.conv, job.t, group * job.conv.channels + job.first_channel(block), job.channels(block), at,
                 columns);
            for (i64 tile = tile0; tile < tile1; ++tile)
                one_tile(job, group, tile, block, at,
                         packed + (group * b.filter_tiles + tile) * b.tile_stride +
                             job.first_channel(block) * job.t.count * ROWS,
                         columns, tiles + ((tile - tile0) * panels.count + q) * ROWS * WIDTH);
        }
}

static inline void gemm_by_panels(const Job& job) {
    const Convolution& conv = job.conv;
    const Blocking&    b    = job.b;
    Scratch<real> packed(conv.groups * b.filter_tiles * b.tile_stride);
    parallel_for(conv.groups * b.filter_tiles, 1 + 32768 / (b.tile_stride + 1), [&](i64 begin, i64 end) {
        for (i64 tile = begin; tile < end; ++tile)
            pack_weights(conv, job.t, tile / b.filter_tiles, tile % b.filter_tiles * ROWS, 0, conv.channels,
                         packed + tile * b.tile_stride);
    });
    const i64 threads = threads_now();
    // Tiles that cannot live in y stay in scratch over the whole reduction: few enough panels that
    // they fit in L2 beside the weights.
    const i64 tiles_bytes = b.filter_tiles * ROWS * WIDTH * (i64)sizeof(real);
    const i64 most =
        job.t.dense_output() && b.image_panels ? PANELS : clamp(SCRATCH_BYTES / tiles_bytes, 2, PANELS);
    // Panels are shared out among tasks, evenly; where they do not come out even the filters are
    // shared instead, and columns packed by each thread.
    i64 panel_groups = ceil_div(b.panels, most), filter_groups = 1;
    const bool uneven = ceil_div(b.panels, threads) * threads * 20 > b.panels * 21;
    if (conv.groups == 1 && uneven && b.filter_tiles >= 4 * threads) filter_groups = threads;
    else if (conv.groups == 1) panel_groups = clamp(ceil_div(panel_groups, threads) * threads, 1, b.panels);
    if (conv.groups * panel_groups * filter_groups < threads)
        filter_groups = clamp(ceil_div(threads, conv.groups * panel_groups), 1, b.filter_tiles);
    parallel_tasks(conv.groups * panel_groups * filter_groups, [&](i64 task) {
        const i64 group = task / (panel_groups * filter_groups), p = task / filter_groups % panel_groups,
                  f = task % filter_groups;
        panels_task(job, packed, group, b.filter_tiles * f / filter_groups,
                    b.filter_tiles * (f + 1) / filter_groups, b.panels * p / panel_groups,
                    b.panels * (p + 1) / panel_groups);
    });
}

// Few panels (14x14, 7x7 maps): the weights outweigh the columns. All columns are packed first,
// then every weight is read once, packed into L1 and used at once for all panels, BAND tiles
// together so that a panel's block is read from L1 by all of them.
constexpr i64 BAND = 4;

static inline void gemm_by_filters(const Job& job) {
    const Convolution& conv = job.conv;
    const Blocking&    b    = job.b;
    const i64 rows = conv.channels * job.t.count, bands = ceil_div(b.filter_tiles, BAND);
    Panels panels(conv, job.t, b, 0, b.panels);
    Scratch<real> columns(rows * b.panels * WIDTH);
    for (i64 group = 0; group < conv.groups; ++group) {
        parallel_for(
            b.blocks, 1 + 65536 / (b.channels * job.t.count * b.panels * WIDTH + 1), [&](i64 begin, i64 end) {
                for (i64 block = begin; block < end; ++block)
                    for (i64 q = 0; q < panels.count; ++q) {
                        const Panel& at = panels.at[q];
                        pack(conv, job.t, group * conv.channels + job.first_channel(block), job.channels(block), at,
                             columns + (q * rows + job.first_channel(block) * job.t.count) * WIDTH);
                    }
            });
        parallel_for(bands, 1, [&](i64 begin, i64 end) {
            Scratch<real> a(BAND * b.channels * job.t.count * ROWS), tiles(BAND * b.panels * ROWS * WIDTH);
            const i64 stride = b.channels * job.t.count * ROWS;
            for (i64 band = begin; band < end; ++band)
                for (i64 block = 0; block < b.blocks; ++block) {
                    const i64 first = band * BAND,
                              last = first + BAND < b.filter_tiles ? first + BAND : b.filter_tiles;
                    for (i64 tile = first; tile < last; ++tile)
                        pack_weights(conv, job.t, group, tile * ROWS, job.first_channel(block),
                                     job.channels(block), a + (tile - first) * stride);
                    for (i64 q = 0; q < panels.count; ++q)
                        for (i64 tile = first; tile < last; ++tile)
                            one_tile(job, group, tile, block, panels.at[q], a + (tile - first) * stride,
                                     columns + (q * rows + job.first_channel(block) * job.t.count) * WIDTH,
                                     tiles + ((tile - first) * panels.count + q) * ROWS * WIDTH);
                }
        });
    }
}

static inline void implicit_gemm(const Convolution& conv, const TapList& t) {
    const Blocking b = plan(conv, t);
    if (!b.panels) return;
    Scratch<real> starts(conv.groups * b.filter_tiles * ROWS);
    for (i64 i = 0; i < conv.groups * b.filter_tiles * ROWS; ++i) {
        const i64 filter = i % (b.filter_tiles * ROWS);
        starts[i] = conv.bias && filter < conv.filters
                        ? conv.bias[i / (b.filter_tiles * ROWS) * conv.filters + filter]
                        : 0;
    }
    const Job job{conv, t, b, starts};
    if (conv.groups == 1 && b.panels <= PANELS && b.filter_tiles >= 2 * BAND &&
        conv.channels * t.count * WIDTH * b.panels < (4 << 20))
        gemm_by_filters(job);
    else
        gemm_by_panels(job);
}
}  // namespace ISA::REAL_NAME
