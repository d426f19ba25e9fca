// unfold: columns (samples, channels x taps, places) hold, for every tap of the window, the pixel
// under it at each place. A thread copies one place's pixels of a row of taps: a warp's threads lie
// side by side in columns, and the image's pixels come again and again from L1. fold is written as
// a gather: a pixel adds, tap by tap in a fixed order, what unfold would have copied from it.
// Nobody meets in a pixel.
#include "index.cuh"

extern "C" {
// blockIdx.y: the row of taps
__global__ void __launch_bounds__(256)
    unfold(const real* x, Dims kernel, Dims dilation, Dims padding, Dims stride, Dims places, int height,
           int width, int pixels, real* y) {
    const int area = places[0] * places[1], i = blockIdx.y;
    for (GRID_STRIDE(t, pixels)) {   // places of all channels
        const int plane = (int)t / area, place = (int)t - plane * area, oh = place / places[1],
                  ow = place - oh * places[1];
        const int h = oh * stride[0] + i * dilation[0] - padding[0], left = ow * stride[1] - padding[1];
        const real* row = x + ((i64)plane * height + h) * width;
        real* out = y + ((i64)plane * kernel[0] + i) * kernel[1] * area + place;
        const bool inside = h >= 0 && h < height;
#pragma unroll 2
        for (int j = 0; j < kernel[1]; ++j) {
            const int w = left + j * dilation[1];
            out[(i64)j * area] = inside && w >= 0 && w < width ? row[w] : rounded(0);
        }
    }
}

__global__ void __launch_bounds__(256)
    fold(const real* columns, Dims kernel, Dims dilation, Dims padding, Dims stride, Dims places, int height,
         int width, int pixels, real* y) {
    const int area = places[0] * places[1];
    for (GRID_STRIDE(t, pixels)) {
        const int row = (int)t / width, w = (int)t - row * width, plane = row / height,
                  h = row - plane * height;
        const real* block = columns + (i64)plane * kernel[0] * kernel[1] * area;
        acc sum = 0;
        for (int i = 0; i < kernel[0]; ++i) {
            const int above = h + padding[0] - i * dilation[0], oh = above / stride[0];
            if (above < 0 || oh * stride[0] != above || oh >= places[0]) continue;
            const real* line = block + (i64)i * kernel[1] * area + oh * places[1];
            for (int j = 0; j < kernel[1]; ++j) {
                const int left = w + padding[1] - j * dilation[1], ow = left / stride[1];
                if (left >= 0 && ow * stride[1] == left && ow < places[1])
                    sum += value(line[(i64)j * area + ow]);
            }
        }
        y[t] = rounded(sum);
    }
}
}
