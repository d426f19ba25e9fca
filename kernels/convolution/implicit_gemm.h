// Convolution as a matrix product that never holds the im2col matrix: y (filters x outputs) = weights (filters x channels taps) times columns,
// of which a task packs only the panels it is about to use (at most PANELS x WIDTH outputs x DEPTH rows, which stay in L2).
// Weights are packed once a call, shared by all tasks. The order of accumulation is channel by channel, tap by tap.
#pragma once
#include "gemm/gemm.h"
#include "columns.h"

namespace ISA::REAL_NAME {
constexpr i64 DEPTH  = 160;   // reduction rows a block: a B panel of 160 x 48 floats is 30 KB, within L1 (measured on Zen 5)
constexpr i64 PANELS = 8;     // panels a task

struct Blocking {
    i64 channels, blocks;                     // channels a block of the reduction
    i64 filter_tiles, tile_stride;            // packed weights: [group][filter tile][channel][tap][ROWS]
    i64 outputs, image_panels, panels;        // panels over all samples; image_panels > 0: panels never cross samples
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

static inline void pack_weights(const Convolution& conv, const TapList& t, const Blocking& b, real* packed) {
    bool contiguous = conv.channel_stride == t.count;
    for (i64 i = 0; i < t.count; ++i) contiguous &= t.taps[i].index == i;
    parallel_for(conv.groups * b.filter_tiles, 1 + 32768 / (b.tile_stride + 1), [&](i64 begin, i64 end) {
        for (i64 tile = begin; tile < end; ++tile) {
            const i64   k = tile % b.filter_tiles * ROWS;
            const int   rows = (int)clamp(conv.filters - k, 0, ROWS);
            const real* src = conv.weights_of(tile / b.filter_tiles) + k * conv.filter_stride;
            real*       dst = packed + tile * b.tile_stride;
            if (contiguous) {
                pack_rows<ROWS>(src, conv.filter_stride, rows, conv.channels * t.count, dst);
                continue;
            }
            for (i64 c = 0; c < conv.channels; ++c)
                for (i64 tap = 0; tap < t.count; ++tap)
                    for (int r = 0; r < ROWS; ++r)
                        *dst++ = r < rows ? src[r * conv.filter_stride + c * conv.channel_stride + t.taps[tap].index] : 0;
        }
    });
}

// A tile between scratch and its places in y.
static inline void scatter_tile(const Convolution& conv, const TapList& t, const Run* runs, int run_count, i64 filter, int rows,
                                const real* tile, i64 width) {
    for (int i = 0; i < rows; ++i)
        for (int r = 0; r < run_count; ++r) {
            const Run& run = runs[r];
            real* y = conv.y + (run.n * conv.ys.c + filter + i) * conv.ys.spatial() +
                      offset_in(conv.ys, run.d * t.out_stride.d + t.out_offset.d, run.h * t.out_stride.h + t.out_offset.h,
                                run.w * t.out_stride.w + t.out_offset.w);
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

// Where panel p lies. Panels of a sample are of nearly equal width: a last one of a single vector would keep few registers busy.
static inline void place_panel(const Convolution& conv, const TapList& t, const Blocking& b, i64 p, Panel& panel) {
    const i64 outputs = b.image_panels ? b.outputs : b.outputs * conv.xs.n, panels = b.image_panels ? b.image_panels : b.panels;
    const i64 vectors = ceil_div(outputs, LANES), local = p % panels, base = p / panels * outputs;
    const i64 begin = vectors * local / panels * LANES, end = vectors * (local + 1) / panels * LANES;
    panel.first   = base + begin;
    panel.length  = (end < outputs ? end : outputs) - begin;
    panel.vectors = (int)ceil_div(panel.length, LANES);
    panel.direct  = t.dense_output() && panel.length % LANES == 0 && panel.first / b.outputs == (panel.first + panel.length - 1) / b.outputs;
}

// Filters [tile0, tile1) of a group at panels [panel0, panel1).
static inline void gemm_task(const Convolution& conv, const TapList& t, const Blocking& b, const real* packed, const real* starts, i64 group,
                             i64 tile0, i64 tile1, i64 panel0, i64 panel1) {
    const i64 plane = conv.ys.spatial(), panels = panel1 - panel0;
    Panel panel[PANELS];
    Scratch<Run> runs(panels * WIDTH);
    i64 moves_needed = 0;
    for (i64 q = 0; q < panels; ++q) {
        place_panel(conv, t, b, panel0 + q, panel[q]);
        panel[q].runs      = runs + q * WIDTH;
        panel[q].run_count = cut_runs(t, panel[q].first, panel[q].first + panel[q].length, panel[q].runs);
        moves_needed += most_moves(t, panel[q].run_count);
    }
    Scratch<Move> moves(moves_needed);
    Move* next = moves;
    for (i64 q = 0; q < panels; ++q) {
        panel[q].moves      = next;
        panel[q].move_count = plan_moves(conv, t, panel[q].runs, panel[q].run_count, panel[q].vectors, next);
        next += panel[q].move_count;
    }
    Scratch<real> columns(b.channels * t.count * WIDTH), tiles((tile1 - tile0) * panels * ROWS * WIDTH);
    for (i64 block = 0; block < b.blocks; ++block) {
        const i64 c0 = block * b.channels, channels = clamp(conv.channels - c0, 0, b.channels), depth = channels * t.count;
        for (i64 q = 0; q < panels; ++q) {
            const Panel& at = panel[q];
            const i64 stride = at.vectors * LANES;
            pack_panel(conv, t, group * conv.channels + c0, channels, at.vectors, at.moves, at.move_count, columns);
            for (i64 tile = tile0; tile < tile1; ++tile) {
                const i64   filter = tile * ROWS;
                const int   rows   = (int)clamp(conv.filters - filter, 0, ROWS);
                const real* start  = block ? nullptr : starts + (group * b.filter_tiles + tile) * ROWS;
                const real* a      = packed + (group * b.filter_tiles + tile) * b.tile_stride + c0 * t.count * ROWS;
                if (at.direct && rows == ROWS) {
                    real* y = conv.y + (at.first / b.outputs * conv.ys.c + group * conv.filters + filter) * plane + at.first % b.outputs;
                    gemm_tile(at.vectors, depth, a, columns, y, plane, start);
                    continue;
                }
                real* scratch = tiles + ((tile - tile0) * panels + q) * ROWS * WIDTH;
                gemm_tile(at.vectors, depth, a, columns, scratch, stride, start);
                if (block + 1 == b.blocks) scatter_tile(conv, t, at.runs, at.run_count, group * conv.filters + filter, rows, scratch, stride);
            }
        }
    }
}

static inline void implicit_gemm(const Convolution& conv, const TapList& t) {
    const Blocking b = plan(conv, t);
    if (!b.panels) return;
    Scratch<real> packed(conv.groups * b.filter_tiles * b.tile_stride), starts(conv.groups * b.filter_tiles * ROWS);
    for (i64 i = 0; i < conv.groups * b.filter_tiles * ROWS; ++i) {
        const i64 filter = i % (b.filter_tiles * ROWS);
        starts[i] = conv.bias && filter < conv.filters ? conv.bias[i / (b.filter_tiles * ROWS) * conv.filters + filter] : 0;
    }
    pack_weights(conv, t, b, packed);

    // Panels are shared out among tasks; where there are fewer panels than threads the filters are too.
    const i64 threads      = pyops_threads;
    i64       panel_groups = ceil_div(b.panels, PANELS);
    if (conv.groups * panel_groups < threads) panel_groups = clamp(ceil_div(threads, conv.groups), 1, b.panels);
    else if (conv.groups == 1) panel_groups = clamp(ceil_div(panel_groups, threads) * threads, 1, b.panels);
    i64 filter_groups = clamp(ceil_div(threads, conv.groups * panel_groups), 1, b.filter_tiles);
    if (conv.channels * t.count * conv.filters > 300000 && b.panels < 3 * threads) {   // weights outweigh columns: stream each half once
        panel_groups  = ceil_div(b.panels, PANELS);
        filter_groups = clamp(threads, 1, b.filter_tiles);
    }
    parallel_tasks(conv.groups * panel_groups * filter_groups, [&](i64 task) {
        const i64 group = task / (panel_groups * filter_groups), p = task / filter_groups % panel_groups, f = task % filter_groups;
        gemm_task(conv, t, b, packed, starts, group, b.filter_tiles * f / filter_groups, b.filter_tiles * (f + 1) / filter_groups,
                  b.panels * p / panel_groups, b.panels * (p + 1) / panel_groups);
    });
}
}  // namespace ISA::REAL_NAME
