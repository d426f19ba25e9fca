// Convolution with few filters or channels a group (depthwise, multipliers, LeNet): straight from planes, vectors along a row of outputs.
// A strip of input rows is copied once into a zero-padded buffer, split into in_stride.w interleaved sub-rows, so that every tap at every
// output is one unaligned load, whatever the stride, dilation and padding. Filters are taken FILTERS at a time to share the loads.
#pragma once
#include "geometry.h"
#include "gemm/gemm.h"

namespace ISA::REAL_NAME {
constexpr int SPAN = ROWS == 8 ? 4 : 2;       // vectors of outputs held in registers

struct Strip {
    i64 depths, rows, phases, width;          // [channel][depth of a tap][row][phase][width]
    i64 left, first_d, first_h;               // padding before a row; the smallest offsets among taps
    i64 plane() const { return depths * rows * phases * width; }
};

static inline Strip strip_of(const TapList& t, i64 output_rows) {
    i64 low_d = 0, high_d = 0, low_h = 0, high_h = 0, low_w = 0, high_w = 0;
    for (i64 i = 0; i < t.count; ++i) {
        const Tap& at = t.taps[i];
        if (i == 0) low_d = high_d = at.d, low_h = high_h = at.h, low_w = high_w = at.w;
        low_d = at.d < low_d ? at.d : low_d, high_d = at.d > high_d ? at.d : high_d;
        low_h = at.h < low_h ? at.h : low_h, high_h = at.h > high_h ? at.h : high_h;
        low_w = at.w < low_w ? at.w : low_w, high_w = at.w > high_w ? at.w : high_w;
    }
    Strip s;
    s.left    = -low_w;   // column 0 of the buffer is what the first tap meets at output 0 (negative: the input is cropped)
    s.first_d = low_d, s.first_h = low_h;
    s.depths  = high_d - low_d + 1;
    s.rows    = (output_rows - 1) * t.in_stride.h + high_h - low_h + 1;
    s.phases  = t.in_stride.w;
    s.width   = (t.grid.w + (high_w - low_w) / t.in_stride.w + 1 + SPAN * LANES) / LANES * LANES;
    return s;
}

// One row of input (or zeros, src == nullptr) into its phases.
static inline void fill_row(const real* src, i64 input_width, const Strip& s, real* dst) {
    for (i64 phase = 0; phase < s.phases; ++phase, dst += s.width) {
        // dst[i] = src[i * phases + phase - left]
        const i64 shift = s.left - phase;
        const i64 first = src ? clamp(shift > 0 ? ceil_div(shift, s.phases) : 0, 0, s.width) : s.width;
        const i64 last  = src ? clamp(input_width + shift > 0 ? ceil_div(input_width + shift, s.phases) : 0, first, s.width) : s.width;
        for (i64 i = 0; i < first; i += LANES) store(dst + i, V{}, (int)clamp(first - i, 0, LANES));
        for (i64 i = first; i < s.width; i += LANES) {
            const int n = (int)clamp(last - i, 0, LANES);
            store(dst + i, n ? load_strided(src + i * s.phases - shift, s.phases, n) : V{}, (int)clamp(s.width - i, 0, LANES));
        }
    }
}

static inline void fill_strip(const Convolution& conv, const TapList& t, const Strip& s, i64 n, i64 channel, i64 od, i64 oh, real* dst) {
    const real* plane = conv.x + (n * conv.xs.c + channel) * conv.xs.spatial();
    for (i64 z = 0; z < s.depths; ++z)
        for (i64 r = 0; r < s.rows; ++r, dst += s.phases * s.width) {
            const i64 d = od * t.in_stride.d + s.first_d + z, h = oh * t.in_stride.h + s.first_h + r;
            const bool inside = d >= 0 && d < conv.xs.d && h >= 0 && h < conv.xs.h;
            fill_row(inside ? plane + offset_in(conv.xs, d, h, 0) : nullptr, conv.xs.w, s, dst);
        }
}

// Offset in a strip of what the tap meets at the first output.
static inline i64 tap_offset(const Strip& s, const Tap& at) {
    const i64 column = at.w + s.left;
    return (((at.d - s.first_d) * s.rows + at.h - s.first_h) * s.phases + column % s.phases) * s.width + column / s.phases;
}

// FILTERS rows of y at outputs [w, w + SPAN * LANES): terms products each, weights packed [term][FILTERS].
template <int FILTERS>
static inline void planar_tile(const real* x, const i64* offsets, i64 terms, const real* weights, const real* start, V (&acc)[FILTERS][SPAN]) {
    #pragma GCC unroll 8
    for (int f = 0; f < FILTERS; ++f)
        #pragma GCC unroll 4
        for (int v = 0; v < SPAN; ++v) acc[f][v] = splat(start[f]);
    for (i64 i = 0; i < terms; ++i, weights += FILTERS) {
        const real* p = x + offsets[i];
        #pragma GCC unroll 4
        for (int v = 0; v < SPAN; ++v) {
            const V xv = load(p + v * LANES);
            #pragma GCC unroll 8
            for (int f = 0; f < FILTERS; ++f) acc[f][v] += weights[f] * xv;
        }
    }
}

template <int FILTERS>
static inline void planar_rows(const Convolution& conv, const TapList& t, const Strip& s, const real* strips, const i64* offsets, i64 terms,
                               const real* weights, const real* start, i64 n, i64 filter, i64 od, i64 oh, i64 rows) {
    for (i64 r = 0; r < rows; ++r)
        for (i64 w = 0; w < t.grid.w; w += SPAN * LANES) {
            V acc[FILTERS][SPAN];
            planar_tile<FILTERS>(strips + r * t.in_stride.h * s.phases * s.width + w, offsets, terms, weights, start, acc);
            for (int f = 0; f < FILTERS; ++f) {
                real* y = conv.y + (n * conv.ys.c + filter + f) * conv.ys.spatial() +
                          offset_in(conv.ys, od * t.out_stride.d + t.out_offset.d, (oh + r) * t.out_stride.h + t.out_offset.h, t.out_offset.w);
                for (int v = 0; v < SPAN; ++v) {
                    const i64 at = w + v * LANES;
                    const int count = (int)clamp(t.grid.w - at, 0, LANES);
                    if (t.out_stride.w == 1) {
                        if (count == LANES) store(y + at, acc[f][v]);
                        else if (count) store(y + at, acc[f][v], count);
                    } else {
                        for (int i = 0; i < count; ++i) y[(at + i) * t.out_stride.w] = acc[f][v][i];
                    }
                }
            }
        }
}

// Packs the weights of filters [k, k + filters) as [term][filters] and their biases.
static inline void pack_terms(const Convolution& conv, const TapList& t, i64 group, i64 k, int filters, real* weights, real* start) {
    const real* w = conv.weights_of(group) + k * conv.filter_stride;
    for (i64 c = 0; c < conv.channels; ++c)
        for (i64 tap = 0; tap < t.count; ++tap)
            for (int f = 0; f < filters; ++f) *weights++ = w[f * conv.filter_stride + c * conv.channel_stride + t.taps[tap].index];
    for (int f = 0; f < filters; ++f) start[f] = conv.bias ? conv.bias[group * conv.filters + k + f] : 0;
}

constexpr i64 STRIP_BYTES = 128 * 1024;       // a strip of all of a group's channels stays within L2, a depthwise plane within L1

static inline i64 strip_rows(const Convolution& conv, const TapList& t) {
    const Strip one = strip_of(t, 1), two = strip_of(t, 2);
    const i64 channels = conv.channels ? conv.channels : 1;
    const i64 per_row = channels * (two.plane() - one.plane()), fixed = channels * one.plane();
    return clamp(1 + (STRIP_BYTES / (i64)sizeof(real) - fixed) / (per_row ? per_row : 1), 1, t.grid.h);
}

static inline void planar(const Convolution& conv, const TapList& t) {
    const i64 terms = conv.channels * t.count, rows = strip_rows(conv, t), strips_a_plane = ceil_div(t.grid.h, rows);
    const Strip s = strip_of(t, rows);
    const i64 tasks = conv.xs.n * conv.groups * t.grid.d * strips_a_plane;
    const i64 cost  = rows * t.grid.w * (terms * conv.filters / 4 + 1);
    parallel_for(tasks, 1 + 30000 / (cost + 1), [&](i64 begin, i64 end) {
        Scratch<real> strips(conv.channels * s.plane() + SPAN * LANES), weights(terms * 4);
        Scratch<i64>  offsets(terms);
        for (i64 c = 0; c < conv.channels; ++c)
            for (i64 tap = 0; tap < t.count; ++tap) offsets[c * t.count + tap] = c * s.plane() + tap_offset(s, t.taps[tap]);
        for (i64 i = 0; i < SPAN * LANES; ++i) strips[conv.channels * s.plane() + i] = 0;   // read past the last row, never stored
        for (i64 task = begin; task < end; ++task) {
            const i64 oh = task % strips_a_plane * rows, od = task / strips_a_plane % t.grid.d;
            const i64 group = task / (strips_a_plane * t.grid.d) % conv.groups, n = task / (strips_a_plane * t.grid.d * conv.groups);
            const i64 count = clamp(t.grid.h - oh, 0, rows);
            for (i64 c = 0; c < conv.channels; ++c)
                fill_strip(conv, t, s, n, group * conv.channels + c, od, oh, strips + c * s.plane());
            for (i64 k = 0; k < conv.filters;) {
                const int  filters = conv.filters - k >= 4 ? 4 : conv.filters - k >= 2 ? 2 : 1;
                const i64  filter  = group * conv.filters + k;
                real       start[4];
                pack_terms(conv, t, group, k, filters, weights, start);
                auto run = filters == 4 ? planar_rows<4> : filters == 2 ? planar_rows<2> : planar_rows<1>;
                run(conv, t, s, strips, offsets, terms, weights, start, n, filter, od, oh, count);
                k += filters;
            }
        }
    });
}
}  // namespace ISA::REAL_NAME
