// roi_align (He et al. 2017): a bin of a region is the mean of samples that lie evenly in it, each
// interpolated from four pixels, 0 where it lies more than a pixel outside. A bin's samples are worked
// out once for all channels. The gradient adds to planes of one thread, regions in their order.
//
// A region that is not finite, too large to count its samples or of a sample that is none gives NaN, and
// no gradient: what is known before a run is refused by Python.
#include "kernel.h"

BEGIN_KERNELS

constexpr real MOST_SAMPLES = 4096;   // along an axis of a bin

static real at_least_one(real v) { return v < 1 ? 1 : v; }   // NaN stays

struct Region {
    i64 sample, rows, columns;
    real y, x, height, width;   // of a bin
    bool right;
    Region(const real* v, i64 samples, i64 oh, i64 ow, real scale, i64 ratio, bool aligned) : sample(-1), right(false) {
        const real half = aligned ? real(0.5) : 0;
        x = v[1] * scale - half, y = v[2] * scale - half;
        width = v[3] * scale - half - x, height = v[4] * scale - half - y;
        if (!aligned) width = at_least_one(width), height = at_least_one(height);
        height /= real(oh), width /= real(ow);
        const bool known = v[0] >= 0 && v[0] < real(samples) && std::isfinite(x) && std::isfinite(y);
        if (!known || !(std::fabs(height) < MOST_SAMPLES) || !(std::fabs(width) < MOST_SAMPLES)) return;
        sample = i64(v[0]);
        rows = ratio > 0 ? ratio : i64(std::ceil(height)), columns = ratio > 0 ? ratio : i64(std::ceil(width));
        right = true;
    }
    real share() const { return real(1) / real(rows * columns > 1 ? rows * columns : 1); }
};

// body(offsets of four pixels, their weights) for the samples of a bin.
template <class Body> static void for_samples(const Region& r, i64 i, i64 j, i64 h, i64 w, Body body) {
    for (i64 a = 0; a < r.rows; ++a)
        for (i64 b = 0; b < r.columns; ++b) {
            real y = r.y + (real(i) + (real(a) + real(0.5)) / real(r.rows)) * r.height;
            real x = r.x + (real(j) + (real(b) + real(0.5)) / real(r.columns)) * r.width;
            if (!(y >= -1 && y <= real(h) && x >= -1 && x <= real(w))) continue;
            y = y < 0 ? 0 : y > real(h - 1) ? real(h - 1)
                                            : y,
            x = x < 0 ? 0 : x > real(w - 1) ? real(w - 1)
                                            : x;
            const i64 top = i64(y), left = i64(x);
            const i64 below = top + 1 < h ? top + 1 : top, right = left + 1 < w ? left + 1 : left;
            const real fy = y - real(top), fx = x - real(left);
            const i64 at[4] = {top * w + left, top * w + right, below * w + left, below * w + right};
            const real weight[4] = {(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx};
            body(at, weight);
        }
}

void roi_align(In<real> x, In<real> regions, double scale, i64 ratio, bool aligned, Out<real> y) {
    const i64 channels = x.dim(1), h = x.dim(2), w = x.dim(3), oh = y.dim(2), ow = y.dim(3), plane = h * w;
    parallel_tasks(y.dim(0) * oh, [&](i64 task) {
        const i64 k = task / oh, i = task % oh;
        const Region r(regions.data + 5 * k, x.dim(0), oh, ow, real(scale), ratio, aligned);
        const real* image = x.data + (r.right ? r.sample : 0) * channels * plane;
        for (i64 j = 0; j < ow; ++j) {
            real* to = y.data + (k * channels * oh + i) * ow + j;
            for (i64 c = 0; c < channels; ++c) to[c * oh * ow] = r.right ? 0 : real(__builtin_nan(""));
            if (!r.right) continue;
            for_samples(r, i, j, h, w, [&](const i64(&at)[4], const real(&weight)[4]) {
                for (i64 c = 0; c < channels; ++c) {
                    const real* p = image + c * plane;
                    for (int q = 0; q < 4; ++q) to[c * oh * ow] += p[at[q]] * weight[q];
                }
            });
            for (i64 c = 0; c < channels; ++c) to[c * oh * ow] *= r.share();
        }
    });
}

void roi_align_backward(In<real> g, In<real> regions, double scale, i64 ratio, bool aligned, Out<real> dx) {
    constexpr i64 TOGETHER = 8;
    const i64 channels = dx.dim(1), h = dx.dim(2), w = dx.dim(3), oh = g.dim(2), ow = g.dim(3), plane = h * w;
    const i64 groups = (channels + TOGETHER - 1) / TOGETHER;
    parallel_tasks(dx.dim(0) * groups, [&](i64 task) {
        const i64 n = task / groups, first = task % groups * TOGETHER;
        const i64 count = channels - first < TOGETHER ? channels - first : TOGETHER;
        real* to = dx.data + (n * channels + first) * plane;
        for_vectors(count * plane, [&](i64 i, auto lanes) { lanes.store(to + i, V{}); });
        for (i64 k = 0; k < g.dim(0); ++k) {
            const Region r(regions.data + 5 * k, dx.dim(0), oh, ow, real(scale), ratio, aligned);
            if (!r.right || r.sample != n) continue;
            for (i64 bin = 0; bin < oh * ow; ++bin)
                for_samples(r, bin / ow, bin % ow, h, w, [&](const i64(&at)[4], const real(&weight)[4]) {
                    for (i64 c = 0; c < count; ++c) {
                        const real share = g.data[(k * channels + first + c) * oh * ow + bin] * r.share();
                        for (int i = 0; i < 4; ++i) to[c * plane + at[i]] += share * weight[i];
                    }
                });
        }
    });
}

END_KERNELS
