// Winograd's algorithm for a single call on planar arrays: filters are transformed, maps copied
// into blocks of channels and back, a few samples at a time so that the copies stay in cache. All of
// that is a fraction of what the algorithm saves.
#include "blocked/layout.h"
#include "winograd_cost.h"
#include "winograd_planar.h"

BEGIN_KERNELS
namespace {
constexpr double FILTER = 9;                    // 16 values of a transformed filter, written and read again
constexpr i64    FEW_TILES = 600;               // filters are transformed as they are met, a block at a time

double cost(const PlanarSquare& conv, i64 tile) {
    const double channels = conv.filters.channels, blocks = blocks_of(conv.filters.filters),
                 side = conv.filters.side, points = (tile + side - 1) * (tile + side - 1),
                 phases = conv.dilation_h * conv.dilation_w;
    const double tiles = conv.ys.n * phases * ceil_div(ceil_div(conv.ys.h, conv.dilation_h), tile) *
                         ceil_div(ceil_div(conv.ys.w, conv.dilation_w), tile),
                 lines = points * channels * blocks;
    const double maps =
        conv.xs.n * (conv.xs.spatial() * blocks_of(conv.filters.channels) + conv.ys.spatial() * blocks) *
        (phases > 1 ? 2 : 1);   // which are laid out once more
    return MULTIPLY * tiles * lines +
           TRANSFORM[side == 5 ? 1 : tile / 4] * tiles * (blocks_of(conv.filters.channels) + blocks) / 2 +
           FILTER * lines + COPY * maps;
}
}  // namespace

i64 winograd_tile(const PlanarSquare& conv) {
    if (!__atomic_load_n(&pyops_winograd, __ATOMIC_RELAXED) || conv.filters.channels < BLOCK ||
        conv.filters.filters < BLOCK)
        return 0;
    PlanarSquare asked = conv;
    if (pyops_by_sample || pyops_run_threads) asked.xs.n = asked.ys.n = 1;
    const i64 side = conv.filters.side;
    double direct = double(conv.filters.taps()) * asked.ys.n * asked.ys.spatial() * asked.filters.channels *
                    blocks_of(asked.filters.filters);
    if (asked.dilation_h * asked.dilation_w > 1)   // taps that lie outside may be left out (direct_planar.h)
        direct *= share_inside(asked.xs.h, asked.ys.h, 3, asked.pad_h, asked.dilation_h) *
                  share_inside(asked.xs.w, asked.ys.w, 3, asked.pad_w, asked.dilation_w);
    if (side == 5) return cost(asked, 2) < GAIN * direct ? 2 : 0;
    return best_tile(direct, [&](i64 tile) { return cost(asked, tile); });
}

double winograd_units(const PlanarSquare& conv, i64 tile) { return cost(conv, tile); }

void winograd_planar(const PlanarSquare& conv, i64 tile) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 side = tile + conv.filters.side - 1, points = side * side, in_blocks = blocks_of(xs.c),
              out_blocks = blocks_of(ys.c);
    const i64 x_sample = in_blocks * xs.spatial() * BLOCK, y_sample = out_blocks * ys.spatial() * BLOCK;
    const i64 together = clamp(MAPS_BYTES / ((x_sample + y_sample) * (i64)sizeof(real)), 1, xs.n);
    const bool dilated = conv.dilation_h * conv.dilation_w > 1,
               met = !dilated && xs.n * ceil_div(ys.h, tile) * ceil_div(ys.w, tile) <= FEW_TILES;
    Scratch<real> u(met ? 0 : out_blocks * points * xs.c * BLOCK), bias(out_blocks * BLOCK), x(together * x_sample),
        y(together * y_sample);
    if (!met) winograd_filters(conv.filters, tile, u);
    for (i64 k = 0; k < out_blocks * BLOCK; ++k) bias[k] = conv.bias && k < ys.c ? conv.bias[k] : 0;
    const Dims padding{{conv.pad_h, conv.pad_w}, 2}, dilation{{conv.dilation_h, conv.dilation_w}, 2};
    const Act  nothing{Activation::CLAMP, -__builtin_inf(), __builtin_inf()};
    for (i64 n = 0; n < xs.n; n += together) {
        const i64 count = clamp(xs.n - n, 0, together), in_shape[] = {count, xs.c, xs.h, xs.w},
                  out_shape[] = {count, ys.c, ys.h, ys.w};
        const OutMap<real> xb{x, count, in_blocks, xs.h, xs.w, x_sample},
            yb{y, count, out_blocks, ys.h, ys.w, y_sample};
        to_blocked({conv.x + n * xs.c * xs.spatial(), in_shape, 4}, xb);
        const InMap<real> image{x, count, in_blocks, xs.h, xs.w, x_sample};
        if (dilated)
            winograd_dilated_layer(image, conv.filters, u, tile, bias, {}, padding, dilation, nothing, yb);
        else
            winograd_layer(image, conv.filters, met ? nullptr : static_cast<const real*>(u), tile, bias, {}, padding,
                           1, nothing, yb);
        from_blocked({y, count, out_blocks, ys.h, ys.w, y_sample},
                     {conv.y + n * ys.c * ys.spatial(), out_shape, 4});
    }
}
END_KERNELS
