// Convolution and transposed convolution of one to three axes, any stride, padding, dilation and
// groups, on NCHW as it comes.
// Both are tap lists (geometry.h), run by one of two algorithms: implicit_gemm.h where a
// group has many filters, planar.h where it has few. 3x3 and 5x5 filters on float32 maps go
// another way, Winograd's.
#include "geometry.h"
#include "implicit_gemm.h"
#include "inside.h"
#include "patches.h"
#include "phases.h"
#include "planar.h"
#include "seen_taps.h"
#include "transposed_columns.h"
#include "transposed_few.h"
#if defined(REAL_f32)
#include "depth_slices.h"
#include "direct_planar.h"
#include "sample_lanes.h"
#include "stride_two.h"
#include "winograd_planar.h"
#endif

BEGIN_KERNELS

// With few filters a packed panel is used by a tile or two, and packing it costs as much as using
// it; planar.h packs nothing, but wastes the lanes beyond short rows (measured on Zen 5: it wins up
// to 16 filters where half the lanes are used).
static bool few_filters(const Convolution& conv, const TapList& t) {
    const i64 lanes = ceil_div(t.grid.w, LANES) * LANES;
    return conv.filters < ROWS / 2 || (conv.filters <= 16 && 2 * t.grid.w >= lanes);
}

// Rows that planar.h has next to no empty lanes in
static bool full_rows(const Convolution& conv, const TapList& t) {
    return few_filters(conv, t) && t.grid.w >= 2 * LANES && t.grid.w * 10 >= ceil_div(t.grid.w, LANES) * LANES * 9;
}

constexpr i64 FEW_FOR_BLOCKS = 16;   // channels: Winograd's algorithm takes as many and more

static bool by_planes(const Convolution& conv, const TapList& t) {
    return few_filters(conv, t) && (dense_in_place(conv, t) || strips_fit(conv, t));
}

static void run(const Convolution& conv, const TapList& t) {
    if (conv.xs.n == 0 || t.outputs() == 0) return;
    if (by_planes(conv, t)) planar(conv, t);
    else implicit_gemm(conv, t);
}

// The same with the rows of x taken apart by phase first, where that pays.
static void run_split(const Convolution& conv, const Extent& kernel, const TapList& t) {
    if (conv.xs.n == 0 || t.outputs() == 0 || !phases_pay(conv, kernel, t) || by_planes(conv, t)) return run(conv, t);
    const Phases  p = phases_of_rows(t);
    Scratch<real> x(conv.xs.n * conv.xs.c * conv.xs.d * conv.xs.h * p.row() + LANES);
    Scratch<Tap>  taps(t.count);
    Convolution   split = conv;
    TapList       of_split = t;
    split_rows(conv, p, x);
    for (i64 i = 0; i < t.count; ++i) taps[i] = split_tap(t.taps[i], p);
    split.x = x, split.xs.w = p.row(), of_split.taps = taps, of_split.in_stride.w = 1;
    of_split.padded_rows = true;
    implicit_gemm(split, of_split);
}

#if defined(REAL_f32)
static bool all_ones(Dims d) { return all_of(d, 1); }

// The call as one that Winograd's algorithm may compute; false: it may not. `turned`: weight is
// (channels, filters, 3, 3), as in a gradient.
static bool squares_of(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                       bool turned, PlanarSquare& planar) {
    const i64 side = kernel.h, reach = side - 1;
    if (kernel.d != 1 || (side != 3 && side != 5) || kernel.w != side || conv.groups != 1 || conv.xs.d != 1 ||
        conv.ys.d != 1 || padding[0] || padding[1] > reach * dilation[1] || padding[2] > reach * dilation[2] ||
        !all_ones(stride) || (side == 5 && !all_ones(dilation)))
        return false;
    planar = {conv.x,
              conv.bias,
              conv.y,
              conv.xs,
              conv.ys,
              {conv.weight, conv.filters, conv.channels, conv.filter_stride, conv.channel_stride, turned, side},
              turned ? reach * dilation[1] - padding[1] : padding[1],
              turned ? reach * dilation[2] - padding[2] : padding[2],
              dilation[1],
              dilation[2]};
    return true;
}

// Runs the call so if that gains time.
static bool by_winograd(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding,
                        Dims dilation, bool turned) {
    PlanarSquare planar;
    if (!squares_of(conv, kernel, stride, padding, dilation, turned, planar)) return false;
    const i64 tile = winograd_tile(planar);
    if (!tile || !even_filters(planar.filters)) return false;
    winograd_planar(planar, tile);
    return true;
}

// The same for filters of 4x4 and stride 2, plain or transposed.
static bool by_stride_two(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                          bool turned) {
    if (kernel.d != 1 || kernel.h != 4 || kernel.w != 4 || conv.groups != 1 || conv.xs.d != 1 || conv.ys.d != 1 ||
        stride[0] != 1 || stride[1] != 2 || stride[2] != 2 || padding[0] || padding[1] > 3 || padding[2] > 3 ||
        !all_ones(dilation) || !conv.xs.n)
        return false;
    const StrideTwo call{conv.x,       conv.weight,   conv.bias,          conv.y,              conv.xs,    conv.ys,
                         conv.filters, conv.channels, conv.filter_stride, conv.channel_stride, padding[1], padding[2]};
    return turned ? winograd_stride_two_transposed(call) : winograd_stride_two(call);
}

// Runs the call in blocked layout, by Winograd's algorithm or directly, if that gains time.
static bool images_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                      bool turned) {
    return by_winograd(conv, kernel, stride, padding, dilation, turned) ||
           by_stride_two(conv, kernel, stride, padding, dilation, turned) ||
           (turned && !all_ones(stride) && is_modest(conv.xs, conv.ys, kernel, stride, dilation) &&
            depthwise_transposed_in_blocks(conv, kernel, stride, padding, dilation)) ||
           (is_modest(conv.xs, conv.ys, kernel, stride, dilation) &&
            ((!turned && stem_in_blocks(conv, kernel, stride, padding, dilation,
                                         conv.ys.c * conv.ys.spatial(), conv.ys.spatial())) ||
             ((!turned || all_ones(stride)) &&
              (direct_in_blocks(conv, kernel, stride, padding, dilation, turned) ||
               groups_in_blocks(conv, kernel, stride, padding, dilation, turned) ||
               depthwise_in_blocks(conv, kernel, stride, padding, dilation, turned)))));
}

// Large filters as those of a row, whose channels are those of all rows that it sees: of a volume whose slices
// are the image's rows.
static bool by_rows(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                    bool turned) {
    if (kernel.d != 1 || conv.xs.d != 1 || conv.ys.d != 1 || padding[0] || kernel.h < 6 || kernel.w != 7 ||
        !all_ones(stride) || !all_ones(dilation) || conv.channels < BLOCK || conv.filters < BLOCK)
        return false;
    const auto rows = [](Extent e) { return Extent{e.n, e.c, e.h, 1, e.w}; };
    Convolution of_rows = conv;
    of_rows.xs = rows(conv.xs), of_rows.ys = rows(conv.ys);
    const auto lines = [turned](const Convolution& image, const Extent& filter, Dims s, Dims p, Dims d) {
        return lines_in_blocks(image, filter, s, p, d, turned);
    };
    return by_depth_slices(of_rows, rows(kernel), stride, {{padding[1], 0, padding[2]}, 3}, dilation, turned, lines);
}

// What the slices of a volume would take by Winograd's algorithm
static double units_of_slices(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                              bool turned) {
    Convolution slices = conv;
    slices.channels = conv.channels * kernel.d;
    slices.xs = {conv.xs.n * conv.ys.d, slices.channels, 1, conv.xs.h, conv.xs.w};
    slices.ys = {conv.xs.n * conv.ys.d, conv.ys.c, 1, conv.ys.h, conv.ys.w};
    PlanarSquare planar;
    const i64 tile = squares_of(slices, {kernel.n, kernel.c, 1, kernel.h, kernel.w}, {{1, stride[1], stride[2]}, 3},
                                {{0, padding[1], padding[2]}, 3}, {{1, dilation[1], dilation[2]}, 3}, turned, planar)
                         ? winograd_tile(planar)
                         : 0;
    return tile ? winograd_units(planar, tile) : __builtin_inf();
}

static bool in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                      bool turned) {
    const auto images = [turned](const Convolution& image, const Extent& filter, Dims s, Dims p, Dims d) {
        return images_in_blocks(image, filter, s, p, d, turned);
    };
    return lines_in_blocks(conv, kernel, stride, padding, dilation, turned) ||
           by_rows(conv, kernel, stride, padding, dilation, turned) ||
           images_in_blocks(conv, kernel, stride, padding, dilation, turned) ||
           ((!turned || all_ones(stride)) &&
            volumes_in_blocks(conv, kernel, stride, padding, dilation, turned,
                              units_of_slices(conv, kernel, stride, padding, dilation, turned))) ||
           by_depth_slices(conv, kernel, stride, padding, dilation, turned, images);
}
#else
// in double every digit counts
static bool in_blocks(const Convolution&, const Extent&, Dims, Dims, Dims, bool) { return false; }
static bool by_sample_lanes(const Convolution&, const Extent&, Dims, Dims, Dims, bool) { return false; }
#endif

// A 1x1 filter on whole planes sees one long row.
static void flatten_planes(Extent& e) { e = {e.n, e.c, 1, 1, e.spatial()}; }

void conv(In<real> x, In<real> weight, In<real> bias, Dims stride, Dims padding, Dims dilation, i64 groups,
          Out<real> y) {
    const Extent kernel = extent(weight);
    Convolution conv{x.data,
                     weight.data,
                     bias.data,
                     y.data,
                     extent(x),
                     extent(y),
                     groups,
                     kernel.c,
                     kernel.n / groups,
                     kernel.n / groups * kernel.c * kernel.spatial(),
                     kernel.c * kernel.spatial(),
                     kernel.spatial()};
    const auto with = [&](In<real> few, Dims less) {
        ISA::REAL_NAME::conv(x, few, bias, stride, less, dilation, groups, y);
    };
    if (by_seen_taps(weight, conv.xs, conv.ys, stride, padding, dilation, false, with)) return;
    if (are_patches_of(conv, kernel, stride, padding, dilation)) return conv_of_patches(conv, kernel);
    Scratch<Tap> taps(kernel.spatial());
    TapList t = whole_filter(kernel, conv.ys, stride, padding, dilation, taps);
    const auto lanes = [&](bool ask) {
        return ask && !full_rows(conv, t) && by_sample_lanes(conv, kernel, stride, padding, dilation, false);
    };
    if (lanes(conv.channels < FEW_FOR_BLOCKS) || in_blocks(conv, kernel, stride, padding, dilation, false) ||
        lanes(conv.channels >= FEW_FOR_BLOCKS))
        return;
    const bool pointwise = t.count == 1 && taps[0].d == 0 && taps[0].h == 0 && taps[0].w == 0 &&
                           stride[0] == 1 && stride[1] == 1 && stride[2] == 1 &&
                           conv.xs.d == conv.ys.d && conv.xs.h == conv.ys.h && conv.xs.w == conv.ys.w;
    if (pointwise) {
        flatten_planes(conv.xs), flatten_planes(conv.ys);
        t.grid = {1, 1, conv.ys.w};
    }
    run_split(conv, kernel, t);
}

// Offsets of the taps that meet outputs phase, phase + stride, ... along one axis.
// Returns how many there are.
struct AxisTap { i64 offset, tap; };
static i64 phase_taps(i64 phase, i64 kernel, i64 stride, i64 padding, i64 dilation, AxisTap* out) {
    i64 count = 0;
    for (i64 tap = 0; tap < kernel; ++tap) {
        // = stride * (input position of output 0 of this phase)
        const i64 at = phase + padding - tap * dilation;
        if (at % stride == 0) out[count++] = {at / stride, tap};
    }
    return count;
}

// The phases of an axis that are computed: all of them, or, where the stride is larger than the
// filter, those that taps meet.
static i64 phases_of(i64 kernel, i64 stride, i64 padding, i64 dilation, i64 size, i64* out) {
    i64 count = 0;
    if (stride <= kernel) {
        for (; count < stride && count < size; ++count) out[count] = count;
        return count;
    }
    for (i64 tap = 0; tap < kernel; ++tap) {
        const i64 at = (tap * dilation - padding) % stride, phase = at < 0 ? at + stride : at;
        bool      met = phase >= size;
        for (i64 i = 0; i < count; ++i) met = met || out[i] == phase;
        if (!met) out[count++] = phase;
    }
    return count;
}

constexpr i64 LONG_PATCH = 8;   // values of a row that are laid as they come

static void fill_with_bias(const Convolution& conv, i64 filters) {
    const i64 plane = conv.ys.spatial();
    parallel_for(conv.ys.n * filters, 1 + 65536 / (plane + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i)
            for_vectors(plane, [&](i64 at, auto lanes) {
                lanes.store(conv.y + i * plane + at, splat(conv.bias ? conv.bias[i % filters] : 0));
            });
    });
}

void conv_transpose(In<real> x, In<real> weight, In<real> bias, Dims stride, Dims padding, Dims dilation,
                    i64 groups, Out<real> y) {
    const Extent kernel = extent(weight);
    const Extent xs = extent(x), ys = extent(y);
    const Convolution conv{x.data,
                           weight.data,
                           bias.data,
                           y.data,
                           xs,
                           ys,
                           groups,
                           kernel.n / groups,
                           kernel.c,
                           kernel.n / groups * kernel.c * kernel.spatial(),
                           kernel.spatial(),
                           kernel.c * kernel.spatial()};
    // an image of no pixels that had been padded has a gradient
    if (y.size() == 0) return;
    const auto with = [&](In<real> few, Dims less) {
        conv_transpose(x, few, bias, stride, less, dilation, groups, y);
    };
    if (by_seen_taps(weight, xs, ys, stride, padding, dilation, true, with)) return;
    const bool columns = columns_pay(conv, kernel, stride, padding, dilation);
    // samples of one pixel are a matrix, and so are the filters
    if (columns && xs.spatial() == 1) return by_columns(conv, kernel, stride, padding);
    if (in_blocks(conv, kernel, stride, padding, dilation, true)) return;
#if defined(REAL_f32)
    const bool long_patches = kernel.w >= LONG_PATCH && are_patches(conv, kernel, stride, dilation);
    if (!all_ones(stride) && !long_patches &&
        transposed_in_blocks(conv, kernel, stride, padding, dilation))
        return;
#endif
    if (are_patches(conv, kernel, stride, dilation)) {
        if (!patches_cover(conv, stride, padding)) fill_with_bias(conv, ys.c);
        return by_patches(conv, kernel, padding);
    }
    if (columns) return by_columns(conv, kernel, stride, padding);
    if (few_products_pay(conv, kernel, stride, padding, dilation))
        return FewProducts(conv, kernel, stride, padding).run();
    if (by_sample_lanes(conv, kernel, stride, padding, dilation, true)) return;
    Scratch<Tap>     taps(kernel.spatial());
    Scratch<AxisTap> axis(kernel.d + kernel.h + kernel.w);
    Scratch<i64>     phases(kernel.d + kernel.h + kernel.w);
    AxisTap *in_d = axis, *in_h = in_d + kernel.d, *in_w = in_h + kernel.h;
    i64 *phases_d = phases, *phases_h = phases_d + kernel.d, *phases_w = phases_h + kernel.h;
    const i64 count_d = phases_of(kernel.d, stride[0], padding[0], dilation[0], ys.d, phases_d);
    const i64 count_h = phases_of(kernel.h, stride[1], padding[1], dilation[1], ys.h, phases_h);
    const i64 count_w = phases_of(kernel.w, stride[2], padding[2], dilation[2], ys.w, phases_w);
    // what no tap meets
    if (stride[0] > kernel.d || stride[1] > kernel.h || stride[2] > kernel.w) fill_with_bias(conv, ys.c);
    enum { UNKNOWN, NO, YES } finite = UNKNOWN;   // the filters: asked where it matters
    for (i64 a = 0; a < count_d; ++a)
        for (i64 b = 0; b < count_h; ++b)
            for (i64 c = 0; c < count_w; ++c) {
                const i64 d = phases_d[a], h = phases_h[b], w = phases_w[c];
                const i64 nd = phase_taps(d, kernel.d, stride[0], padding[0], dilation[0], in_d);
                const i64 nh = phase_taps(h, kernel.h, stride[1], padding[1], dilation[1], in_h);
                const i64 nw = phase_taps(w, kernel.w, stride[2], padding[2], dilation[2], in_w);
                i64 count = 0;
                for (i64 i = 0; i < nd; ++i)
                    for (i64 j = 0; j < nh; ++j)
                        for (i64 k = 0; k < nw; ++k)
                            taps[count++] = {in_d[i].offset, in_h[j].offset, in_w[k].offset,
                                             (in_d[i].tap * kernel.h + in_h[j].tap) * kernel.w + in_w[k].tap};
                const TapList phase{taps,
                                    count,
                                    false,
                                    {1, 1, 1},
                                    {stride[0], stride[1], stride[2]},
                                    {d, h, w},
                                    {ceil_div(ys.d - d, stride[0]), ceil_div(ys.h - h, stride[1]),
                                     ceil_div(ys.w - w, stride[2])}};
                const bool outside = phase.outputs() && reads_outside(conv, phase);
                if (outside && finite == UNKNOWN)
                    finite = all_finite(weight.data, kernel.n * kernel.c * kernel.spatial()) ? YES : NO;
                if (outside && finite == NO) taps_inside(conv, phase);
                else run(conv, phase);
            }
}

// A bias's gradient: sums over samples and positions, channel by channel.
void channel_sum(In<real> dy, Out<real> total) {
    const Extent e = extent(dy);
    parallel_for(e.c, 1 + 16384 / (e.n * e.spatial() + 1), [&](i64 begin, i64 end) {
        for (i64 c = begin; c < end; ++c) {
            V acc{};
            for (i64 n = 0; n < e.n; ++n)
                for_vectors(e.spatial(), [&](i64 i, auto lanes) {
                    acc += lanes.load(dy.data + (n * e.c + c) * e.spatial() + i);
                });
            total.data[c] = hsum(acc);
        }
    });
}

END_KERNELS
