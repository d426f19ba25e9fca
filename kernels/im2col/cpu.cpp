// unfold: one row of columns (sample, channel, tap) is the image shifted by the tap, so that it is
// copied image row by image row. fold is written as a gather: one image row sums, tap by tap in a
// fixed order, the pieces of columns that unfold would have copied from it. No two threads meet in
// a pixel, and the row being summed stays in the first cache.
#include "kernel.h"

BEGIN_KERNELS

// Places o in [begin, end) of n whose position start + o step lies in [0, width).
struct Covered { i64 begin, end; };
static Covered covered(i64 start, i64 step, i64 width, i64 n) {
    i64 begin = start < 0 ? (-start + step - 1) / step : 0;
    i64 end   = start < width ? (width - 1 - start) / step + 1 : 0;
    if (begin > n) begin = n;
    if (end > n) end = n;
    return {begin, end < begin ? begin : end};
}

static void copy_strided(const real* x, i64 step, i64 n, real* y) {
    for_vectors(
        n, [&](i64 i, auto lanes) { lanes.store(y + i, load_strided(x + i * step, step, lanes.count)); });
}

static void zero(real* y, i64 n) {
    for_vectors(n, [&](i64 i, auto lanes) { lanes.store(y + i, V{}); });
}

void unfold(In<real> x, Dims kernel, Dims dilation, Dims padding, Dims stride, Dims places, Out<real> y) {
    const i64 height = x.dim(2), width = x.dim(3), taps = kernel[0] * kernel[1], area = places[0] * places[1];
    parallel_for(x.dim(0) * x.dim(1) * taps, 1 + 32768 / (area + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            const i64   tap = row % taps, left = tap % kernel[1] * dilation[1] - padding[1];
            const real* image = x.data + row / taps * height * width;
            const auto  inside = covered(left, stride[1], width, places[1]);
            real*       out = y.data + row * area;
            for (i64 oh = 0; oh < places[0]; ++oh, out += places[1]) {
                const i64 h = oh * stride[0] + tap / kernel[1] * dilation[0] - padding[0];
                if (h < 0 || h >= height) {
                    zero(out, places[1]);
                    continue;
                }
                zero(out, inside.begin);
                copy_strided(image + h * width + left + inside.begin * stride[1], stride[1],
                             inside.end - inside.begin, out + inside.begin);
                zero(out + inside.end, places[1] - inside.end);
            }
        }
    });
}

// y[o step] += x[o]
static void add_strided(const real* x, i64 step, i64 n, real* y) {
    if (step == 1)
        for_vectors(n, [&](i64 i, auto lanes) { lanes.store(y + i, lanes.load(y + i) + lanes.load(x + i)); });
    else
        for (i64 i = 0; i < n; ++i) y[i * step] += x[i];
}

void fold(In<real> columns, Dims kernel, Dims dilation, Dims padding, Dims stride, Dims places, Out<real> y) {
    const i64 height = y.dim(2), width = y.dim(3), taps = kernel[0] * kernel[1], area = places[0] * places[1];
    parallel_for(y.dim(0) * y.dim(1) * height, 1 + 16384 / (width * taps + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            const real* block = columns.data + row / height * taps * area;
            real*       out = y.data + row * width;
            zero(out, width);
            for (i64 i = 0; i < kernel[0]; ++i) {
                const i64 above = row % height + padding[0] - i * dilation[0];
                if (above < 0 || above % stride[0] || above / stride[0] >= places[0]) continue;
                const real* line = block + i * kernel[1] * area + above / stride[0] * places[1];
                for (i64 j = 0; j < kernel[1]; ++j, line += area) {
                    const i64  left = j * dilation[1] - padding[1];
                    const auto inside = covered(left, stride[1], width, places[1]);
                    add_strided(line + inside.begin, stride[1], inside.end - inside.begin,
                                out + left + inside.begin * stride[1]);
                }
            }
        }
    });
}

END_KERNELS
