// Padding and cropping of images in blocked layout: an output row is the input row of its source
// position between two edges.
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
enum Mode : i64 { CONSTANT, REFLECT, REPLICATE, CIRCULAR };   // as ops/pad.py numbers them

// The input behind output o of an axis of n inputs, the first of which is output `before`; -1: none
i64 source(i64 mode, i64 o, i64 before, i64 n) {
    const i64 i = o - before;
    if (i >= 0 && i < n) return i;
    switch (mode) {
        case REFLECT: return i < 0 ? -i : 2 * (n - 1) - i;
        case REPLICATE: return i < 0 ? 0 : n - 1;
        case CIRCULAR: return i < 0 ? i + n : i - n;
        default: return -1;
    }
}

// Outputs [from, to) of a row, one by one
void edge(i64 mode, const real* x, i64 from, i64 to, i64 before, i64 n, V value, real* y) {
    for (i64 o = from; o < to; ++o) {
        const i64 i = source(mode, o, before, n);
        for (int v = 0; v < BLOCK; v += LANES)
            store(y + o * BLOCK + v, i < 0 ? value : load(x + i * BLOCK + v));
    }
}

i64 clamp(i64 a, i64 low, i64 high) { return a < low ? low : a > high ? high : a; }
}  // namespace

// before: rows above and columns left of the image; negative numbers crop
void pad_blocked(InMap<real> x, Dims before, i64 mode, double value, OutMap<real> y) {
    const i64 top = before[0], left = before[1], row = y.w * BLOCK;
    // outputs that are inputs in their order
    const i64 begin_w = clamp(left, 0, y.w), end_w = clamp(left + x.w, begin_w, y.w);
    const V   constant = splat((real)value);
    parallel_for(y.n * y.blocks * y.h, 1 + 8192 / (row + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 plane = i / y.h, oy = i % y.h, iy = source(mode, oy, top, x.h);
            real*     to    = y.at(plane / y.blocks, plane % y.blocks) + oy * row;
            if (iy < 0) {
                for (i64 v = 0; v < row; v += LANES) store(to + v, constant);
                continue;
            }
            const real* from = x.at(plane / y.blocks, plane % y.blocks) + iy * x.w * BLOCK;
            edge(mode, from, 0, begin_w, left, x.w, constant, to);
            if (end_w > begin_w)
                std::memcpy(to + begin_w * BLOCK, from + (begin_w - left) * BLOCK,
                            (end_w - begin_w) * BLOCK * sizeof(real));
            edge(mode, from, end_w, y.w, left, x.w, constant, to);
        }
    });
}
END_KERNELS
