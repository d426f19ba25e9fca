// A single call of a convolution whose filters lie along one axis, by Winograd's algorithm along it
// (blocked_winograd_line.cpp): maps are copied into blocks of channels and back, some samples at a time, and
// filters are transformed within the call. Filters along the depth of a volume are those along the rows of an
// image, a row of which is a slice.
#include "blocked/layout.h"
#include "direct_planar.h"
#include "gemm/gemm.h"
#include "program_kernel.h"
#include "winograd_cost.h"
#include "winograd_planar.h"
#include "winograd_transform.h"

BEGIN_KERNELS
void winograd_line(InMap<real> x, In<real> weight, In<real> u, i64 tile, i64 axis, In<real> bias, InMap<real> residual,
                   i64 padding, i64 dilation, Act act, OutMap<real> y);

namespace {
constexpr double POINT = 14;   // of a tile, 16 channels: half of the way in and half of the way out
constexpr double FILTER = 40;  // 16 values of a transformed filter, written and read again

// The call as one of images, h x w, with filters of `taps` along one of the two
struct Line {
    i64 taps = 0, axis = 0, padding = 0, dilation = 1, in_h = 0, in_w = 0, out_h = 0, out_w = 0;
    i64 in_length() const { return axis ? in_w : in_h; }
    i64 out_length() const { return axis ? out_w : out_h; }
};

// taps is 0 where it is no such call.
Line line_of(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation, bool turned) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 sides[] = {kernel.d, kernel.h, kernel.w}, in[] = {xs.d, xs.h, xs.w}, out[] = {ys.d, ys.h, ys.w};
    int along = -1;
    for (int a = 0; a < 3; ++a) {
        if (stride[a] != 1 || (sides[a] > 1 && along >= 0)) return {};
        if (sides[a] > 1) along = a;
        else if (padding[a] || in[a] != out[a]) return {};
    }
    if (along < 0 || (along > 0 && xs.d != 1)) return {};
    Line line;
    const i64 taps = sides[along], step = dilation[along], reach = (taps - 1) * step;
    line.axis = along == 2, line.dilation = step;
    line.padding = turned ? reach - padding[along] : padding[along];
    line.in_h = along ? xs.h : xs.d, line.in_w = along ? xs.w : xs.h * xs.w;
    line.out_h = along ? ys.h : ys.d, line.out_w = along ? ys.w : ys.h * ys.w;
    const bool fits = (taps == 3 || taps == 5 || taps == 7) && line.padding >= 0 && line.padding <= reach &&
                      line.in_length() % step == 0 && line.out_length() % step == 0 && line.padding % step == 0;
    line.taps = fits ? taps : 0;
    return line;
}

double cost(const Convolution& conv, const Line& line, i64 samples, i64 tile) {
    const double points = tile + line.taps - 1, in_blocks = blocks_of(conv.channels),
                 out_blocks = blocks_of(conv.filters), channels = conv.channels,
                 lines = double(samples) * line.out_h * line.out_w / line.out_length() * line.dilation,
                 tiles = lines * ceil_div(line.out_length() / line.dilation, tile);
    return MULTIPLY * tiles * points * channels * out_blocks + POINT * points * tiles * (in_blocks + out_blocks) / 2 +
           FILTER * points * channels * out_blocks +
           COPY * samples * (line.in_h * line.in_w * in_blocks + line.out_h * line.out_w * out_blocks);
}

// Outputs of the tile that is estimated to be fastest, or 0: then the algorithm gains nothing
i64 tile_of(const Convolution& conv, const Line& line) {
    const i64 samples = pyops_by_sample || pyops_run_threads ? 1 : conv.xs.n;
    const double direct =
        double(samples) * line.out_h * line.out_w * line.taps * conv.channels * blocks_of(conv.filters);
    const i64 small = line.taps == 7 ? 2 : 4, large = small == 2 ? 4 : 6;
    const double few = cost(conv, line, samples, small), many = cost(conv, line, samples, large);
    return (few < many ? few : many) >= GAIN * direct ? 0 : few < many ? small : large;
}

// (C, K, taps) to (K, C, taps), taps from the last on; a block of filters, whose values lie side by side, at once
void turn(const Convolution& conv, i64 taps, real* to) {
    parallel_for(blocks_of(conv.filters), 1 + 1024 / (conv.channels * taps), [&](i64 begin, i64 end) {
        for (i64 block = begin; block < end; ++block)
            for (i64 c = 0; c < conv.channels; ++c)
                for (i64 k = block * BLOCK; k < (block + 1) * BLOCK && k < conv.filters; ++k) {
                    const real* const from = conv.weight + k * conv.filter_stride + c * conv.channel_stride;
                    for (i64 t = 0; t < taps; ++t) to[(k * conv.channels + c) * taps + t] = from[taps - 1 - t];
                }
    });
}

// u (K/16, points, C, 16) of plain filters (K, C, taps): what winograd_line_weights makes, in float
template <int TILE, int TAPS> void transform(const real* plain, i64 filters, i64 channels, real* u) {
    constexpr Winograd<TILE, TAPS> winograd;
    constexpr i64 SIDE = winograd.SIDE, TOGETHER = 64;   // channels whose taps stay in L1
    V g[SIDE][TAPS];
    for (int i = 0; i < SIDE; ++i) {
        double row[TAPS];
        winograd.filter_row(i, row);
        for (int t = 0; t < TAPS; ++t) g[i][t] = splat((real)row[t]);
    }
    const i64 pieces = ceil_div(channels, TOGETHER);
    parallel_for(blocks_of(filters) * pieces, 1, [&](i64 begin, i64 end) {
        Scratch<real> taps(TOGETHER * TAPS * BLOCK);
        for (i64 at = begin; at < end; ++at) {
            const i64 block = at / pieces, c0 = at % pieces * TOGETHER, count = clamp(channels - c0, 0, TOGETHER);
            for (int part = 0; part < BLOCK; part += LANES) {
                const i64 k = block * BLOCK + part;
                pack_rows<LANES>(plain + (k * channels + c0) * TAPS, channels * TAPS, (int)clamp(filters - k, 0, LANES),
                                 count * TAPS, taps + part, BLOCK);
            }
            for (i64 c = 0; c < count; ++c)
                for (int part = 0; part < BLOCK; part += LANES) {
                    V w[TAPS];
                    #pragma GCC unroll 8
                    for (int t = 0; t < TAPS; ++t) w[t] = load(taps + (c * TAPS + t) * BLOCK + part);
                    real* const to = u + (block * SIDE * channels + c0 + c) * BLOCK + part;
                    #pragma GCC unroll 16
                    for (int i = 0; i < SIDE; ++i) {
                        V sum = g[i][0] * w[0];
                        #pragma GCC unroll 8
                        for (int t = 1; t < TAPS; ++t) sum += g[i][t] * w[t];
                        store(to + i * channels * BLOCK, sum);
                    }
                }
        }
    });
}

void transform(const real* plain, i64 filters, i64 channels, i64 taps, i64 tile, real* u) {
    if (taps == 3 && tile == 4) transform<4, 3>(plain, filters, channels, u);
    else if (taps == 3) transform<6, 3>(plain, filters, channels, u);
    else if (taps == 5 && tile == 4) transform<4, 5>(plain, filters, channels, u);
    else if (taps == 5) transform<6, 5>(plain, filters, channels, u);
    else if (tile == 2) transform<2, 7>(plain, filters, channels, u);
    else transform<4, 7>(plain, filters, channels, u);
}
}  // namespace

bool lines_in_blocks(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                     bool turned) {
    if (conv.groups != 1 || conv.channels < BLOCK || conv.filters < BLOCK || !conv.xs.n ||
        !__atomic_load_n(&pyops_winograd, __ATOMIC_RELAXED))
        return false;
    const Line line = line_of(conv, kernel, stride, padding, dilation, turned);
    if (!line.taps || !line.in_h || !line.in_w || !line.out_h || !line.out_w) return false;
    const i64 tile = tile_of(conv, line), channels = conv.channels, filters = conv.filters, row = channels * line.taps;
    if (!tile) return false;
    Scratch<real> laid(turned ? filters * row : 0);
    if (turned) turn(conv, line.taps, laid);
    const real* const plain = turned ? laid : conv.weight;
    if (!even_filters({plain, filters, row, row, 1, false, 1})) return false;   // of values each a channel
    const i64 in_blocks = blocks_of(channels), out_blocks = blocks_of(filters), points = tile + line.taps - 1,
              x_sample = in_blocks * line.in_h * line.in_w * BLOCK,
              y_sample = out_blocks * line.out_h * line.out_w * BLOCK,
              together = clamp(MAPS_BYTES / ((x_sample + y_sample) * (i64)sizeof(real)), 1, conv.xs.n);
    Scratch<real> u(out_blocks * points * channels * BLOCK), bias(out_blocks * BLOCK), x(together * x_sample),
        y(together * y_sample);
    const i64 weight_shape[] = {filters, channels, line.taps}, u_shape[] = {out_blocks, points, channels, BLOCK},
              bias_shape[] = {out_blocks * BLOCK};
    const In<real> weight{plain, weight_shape, 3};
    transform(plain, filters, channels, line.taps, tile, u);
    for (i64 k = 0; k < out_blocks * BLOCK; ++k) bias[k] = conv.bias && k < filters ? conv.bias[k] : 0;
    for (i64 n = 0; n < conv.xs.n; n += together) {
        const i64 count = clamp(conv.xs.n - n, 0, together), in_shape[] = {count, channels, line.in_h, line.in_w},
                  out_shape[] = {count, filters, line.out_h, line.out_w};
        to_blocked({conv.x + n * channels * line.in_h * line.in_w, in_shape, 4},
                   {x, count, in_blocks, line.in_h, line.in_w, x_sample});
        winograd_line({x, count, in_blocks, line.in_h, line.in_w, x_sample}, weight, {u, u_shape, 4}, tile, line.axis,
                      {bias, bias_shape, 1}, {}, line.padding, line.dilation,
                      {Activation::CLAMP, -__builtin_inf(), __builtin_inf()},
                      {y, count, out_blocks, line.out_h, line.out_w, y_sample});
        from_blocked({y, count, out_blocks, line.out_h, line.out_w, y_sample},
                     {conv.y + n * filters * line.out_h * line.out_w, out_shape, 4});
    }
    return true;
}
END_KERNELS
