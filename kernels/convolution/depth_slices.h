// A convolution over three axes as one over two: every slice of the result sees kernel.d slices of the
// input, whose channels stand side by side as those of one image. Its filters already lie so. What
// convolutions of images have of their own (Winograd's algorithm, blocks of channels) serves both. Threads share
// out pieces of the depth, which do not depend on how many there are.
#pragma once
#include "direct_planar.h"
#include "geometry.h"
#include <atomic>

namespace ISA::REAL_NAME {
// Values of slices at once, those of input and result together: as many as stay in the second-level cache, or as
// make the filters small beside them, which each task brings into a form of its own
constexpr i64 SLICE_VALUES = 4 << 20, KEPT_VALUES = 128 << 10, FILTERS_SMALL = 16;

struct DepthSlices {
    const Convolution& conv;
    const Extent&      kernel;
    i64                stride, first, step;   // of depth: slice o sees those at o stride + first + tap step
    i64 in_plane() const { return conv.xs.h * conv.xs.w; }
    i64 out_plane() const { return conv.ys.h * conv.ys.w; }
    i64 channels() const { return conv.channels * kernel.d; }

    // The planes that slice o of sample n sees, zeros where it sees none
    void gather(i64 n, i64 o, real* to) const {
        for (i64 c = 0; c < conv.channels; ++c)
            for (i64 tap = 0; tap < kernel.d; ++tap, to += in_plane()) {
                const i64 d = o * stride + first + tap * step;
                if (d < 0 || d >= conv.xs.d) std::memset(to, 0, in_plane() * sizeof(real));
                else
                    std::memcpy(to, conv.x + ((n * conv.xs.c + c) * conv.xs.d + d) * in_plane(),
                                in_plane() * sizeof(real));
            }
    }
    void scatter(const real* from, i64 n, i64 o) const {
        for (i64 k = 0; k < conv.filters; ++k)
            std::memcpy(conv.y + ((n * conv.ys.c + k) * conv.ys.d + o) * out_plane(), from + k * out_plane(),
                        out_plane() * sizeof(real));
    }
};

// (C, K, taps of depth, taps of a slice) to (C, taps of depth, K, taps of a slice), for gradients
static inline void lay_by_depth(const Convolution& conv, const Extent& kernel, real* to) {
    const i64 taps = kernel.h * kernel.w;
    for (i64 c = 0; c < conv.channels; ++c)
        for (i64 d = 0; d < kernel.d; ++d)
            for (i64 k = 0; k < conv.filters; ++k, to += taps)
                std::memcpy(to, conv.weight + c * conv.channel_stride + k * conv.filter_stride + d * taps,
                            taps * sizeof(real));
}

// `images` runs a convolution of images, or says false and does nothing. False where it did.
template <class Images>
static bool by_depth_slices(const Convolution& conv, const Extent& kernel, Dims stride, Dims padding, Dims dilation,
                            bool turned, Images images) {
    const Extent &xs = conv.xs, &ys = conv.ys;
    const i64 taps = kernel.h * kernel.w;
    const DepthSlices slices{conv, kernel, turned ? 1 : stride[0], turned ? padding[0] : -padding[0],
                             turned ? -dilation[0] : dilation[0]};
    if (conv.groups != 1 || (xs.d == 1 && kernel.d == 1) || taps == 1 || conv.filters < LANES ||
        (slices.channels() < LANES && (turned || taps < STEM_TAPS)) || !xs.n || !ys.spatial() ||
        (turned && stride[0] != 1))
        return false;
    const i64 x_slice = slices.channels() * slices.in_plane(), y_slice = conv.filters * slices.out_plane(),
              slice = x_slice + y_slice, threads = threads_now(),
              kept = KEPT_VALUES > FILTERS_SMALL * conv.filters * slices.channels() * taps
                         ? KEPT_VALUES
                         : FILTERS_SMALL * conv.filters * slices.channels() * taps,
              most = clamp((kept < SLICE_VALUES ? kept : SLICE_VALUES) / slice, 1, ys.d), pieces = ceil_div(ys.d, most),
              together = ceil_div(ys.d, pieces);
    Scratch<real> weight(turned ? conv.channels * kernel.d * conv.filters * taps : 0);
    if (turned) lay_by_depth(conv, kernel, weight);
    const Extent image_kernel{kernel.n, kernel.c, 1, kernel.h, kernel.w};
    // False: `images` did nothing.
    const auto some = [&](i64 n, i64 begin, i64 end) {
        const i64 count = end - begin;
        Scratch<real> x(together * x_slice), y(together * y_slice);
        parallel_for(count, 1 + 65536 / (x_slice + 1), [&](i64 from, i64 last) {
            for (i64 i = from; i < last; ++i) slices.gather(n, begin + i, x + i * x_slice);
        });
        Convolution image = conv;
        image.x = x, image.y = y, image.channels = slices.channels();
        image.xs = {count, slices.channels(), 1, xs.h, xs.w}, image.ys = {count, ys.c, 1, ys.h, ys.w};
        const Dims moves{{1, stride[1], stride[2]}, 3}, sides{{0, padding[1], padding[2]}, 3},
            steps{{1, dilation[1], dilation[2]}, 3};
        if (!turned) {   // a first layer: its rows are laid into the volume as they are made
            image.channel_stride = taps;
            image.y = conv.y + n * ys.c * ys.spatial() + begin * slices.out_plane();
            if (stem_in_blocks(image, image_kernel, moves, sides, steps, slices.out_plane(), ys.spatial())) return true;
            image.y = y;
        }
        if (turned) image.weight = weight, image.channel_stride = conv.filters * taps, image.filter_stride = taps;
        if (!images(image, image_kernel, moves, sides, steps)) return false;
        parallel_for(count, 1 + 65536 / (y_slice + 1), [&](i64 from, i64 last) {
            for (i64 i = from; i < last; ++i) slices.scatter(y + i * y_slice, n, begin + i);
        });
        return true;
    };
    std::atomic<bool> done{true};
    const auto piece = [&](i64 at) {
        const i64 p = at % pieces;
        if (done && !some(at / pieces, ys.d * p / pieces, ys.d * (p + 1) / pieces)) done = false;
    };
    const i64 count = xs.n * pieces;
    if (count % threads == 0 || count >= 4 * threads) parallel_tasks(count, piece);
    else
        for (i64 i = 0; i < count; ++i) piece(i);
    return done;
}
}  // namespace ISA::REAL_NAME
