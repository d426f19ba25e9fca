// 3x3 convolutions of stride 1 with dilation, by Winograd's algorithm: outputs that lie a dilation
// apart see inputs that lie one apart, so the layer is as many ordinary ones as a dilation has
// phases, on interleaved maps. These are laid side by side as samples, with the zeros around them,
// some at a time so that the copies stay in cache. A pixel of a block is a cache line: copies of
// every second one cost what copies of all cost, and a map is copied once for K filters.
#include "convolution/winograd_cost.h"
#include "interleaved_maps.h"
#include "winograd_filters.h"

BEGIN_KERNELS
void winograd_dilated_layer(InMap<real> x, const SquareFilters& filters, const real* u, i64 tile,
                            const real* bias, InMap<real> residual, Dims padding, Dims dilation, Act act,
                            OutMap<real> y) {
    const i64 dh = dilation[0], dw = dilation[1], rows = (y.h + dh - 1) / dh, columns = (y.w + dw - 1) / dw;
    const i64 in_rows = rows + 2, in_columns = columns + 2;
    const i64 x_plane = in_rows * in_columns * BLOCK, y_plane = rows * columns * BLOCK;
    const i64 phases = y.n * dh * dw, bytes = (x.blocks * x_plane + 2 * y.blocks * y_plane) * sizeof(real);
    if (!phases || !y.blocks || !y_plane) return;
    const i64 most = MAPS_BYTES / (bytes + 1), together = most < 1 ? 1 : most > phases ? phases : most;
    Scratch<real> xs(together * x.blocks * x_plane), ys(together * y.blocks * y_plane),
        add(residual ? together * y.blocks * y_plane : 0);
    for (i64 first = 0; first < phases; first += together) {
        const i64 count = phases - first < together ? phases - first : together;
        // the phase that is sample i of these
        const auto grid = [&](i64 i) {
            const i64 phase = (first + i) % (dh * dw);
            return Grid{phase / dw, phase % dw, dh, dw};
        };
        parallel_for(count * x.blocks, 1 + 65536 / x_plane, [&](i64 begin, i64 end) {
            for (i64 at = begin; at < end; ++at) {
                Grid g = grid(at / x.blocks);
                g.y -= padding[0];
                g.x -= padding[1];
                lay(x.at((first + at / x.blocks) / (dh * dw), at % x.blocks), x.h, x.w, g, in_rows,
                    in_columns, xs + at * x_plane);
            }
        });
        const auto each_output = [&](const auto& body) {
            parallel_for(count * y.blocks, 1 + 65536 / y_plane, [&](i64 begin, i64 end) {
                for (i64 at = begin; at < end; ++at)
                    body((first + at / y.blocks) / (dh * dw), at % y.blocks, grid(at / y.blocks),
                         at * y_plane);
            });
        };
        InMap<real> added{};
        if (residual) {
            each_output([&](i64 sample, i64 block, const Grid& g, i64 place) {
                lay(residual.at(sample, block), y.h, y.w, g, rows, columns, add + place);
            });
            added = {add, count, y.blocks, rows, columns, y.blocks * y_plane};
        }
        winograd_layer({xs, count, x.blocks, in_rows, in_columns, x.blocks * x_plane}, filters, u, tile, bias,
                       added, Dims{{0, 0}, 2}, 1, act, {ys, count, y.blocks, rows, columns, y.blocks * y_plane});
        each_output([&](i64 sample, i64 block, const Grid& g, i64 place) {
            put(ys + place, columns, g, y.at(sample, block), y.h, y.w);
        });
    }
}

void winograd_dilated(InMap<real> x, In<real> weight, In<real> u, i64 tile, In<real> bias,
                      InMap<real> residual, Dims padding, Dims dilation, Act act, OutMap<real> y) {
    winograd_dilated_layer(x, square_filters(weight), u.data, tile, bias.data, residual, padding, dilation, act, y);
}
END_KERNELS
