// The likeliest class of each pixel of a map.
#include "blocked/labels.h"

BEGIN_KERNELS
void map_labels(InMap<real> x, i64 classes, OutAny y) {
    constexpr i64 STRIP = 1024;   // pixels
    const i64 plane = x.h * x.w, strips = (plane + STRIP - 1) / STRIP;
    parallel_for(x.n * strips, 1, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 sample = i / strips, p = i % strips * STRIP, count = plane - p < STRIP ? plane - p : STRIP;
            store_labels(x.at(sample, 0) + p * BLOCK, x.plane(), classes, count, y, sample * plane + p);
        }
    });
}
END_KERNELS
