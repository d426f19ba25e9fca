// A view of any strides, made contiguous. Strides are in values and may be zero or negative; x
// points at the view's first element.
#include "blocked/epilogue.h"

BEGIN_KERNELS
void strided_copy(In<real> x, Dims strides, Out<real> y) {
    const int last = y.ndim - 1;
    const i64 width = last >= 0 ? y.dim(last) : 1, step = last >= 0 ? strides[last] : 1;
    const i64 rows = width ? y.size() / width : 0;
    parallel_for(rows, 1 + 16384 / (width + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            i64 at = 0;
            for (i64 axis = last - 1, left = row; axis >= 0; --axis) {
                at += left % y.dim((int)axis) * strides[(int)axis];
                left /= y.dim((int)axis);
            }
            const real* from = x.data + at;
            real*       to   = y.data + row * width;
            if (step == 1)
                for_vectors(width, [&](i64 i, auto lanes) { lanes.store(to + i, lanes.load(from + i)); });
            else for (i64 i = 0; i < width; ++i) to[i] = from[i * step];
        }
    });
}

// What is left of an epilogue when a node runs by its plain kernel. In place.
void activate_flat(Act act, Out<real> y) {
    const Epilogue e(act);
    parallel_for((y.size() + LANES - 1) / LANES, 4096, [&](i64 begin, i64 end) {
        for (i64 i = begin * LANES; i < end * LANES; i += LANES) {
            const int n = y.size() - i < LANES ? (int)(y.size() - i) : LANES;
            alignas(64) real v[LANES];
            store(v, e.clamp(load(y.data + i, n)));
            e.finish(v, LANES);
            store(y.data + i, load(v), n);
        }
    });
}

void add_flat(In<real> a, In<real> b, Out<real> y) {
    parallel_for((y.size() + LANES - 1) / LANES, 4096, [&](i64 begin, i64 end) {
        const i64 to = end * LANES < y.size() ? end * LANES : y.size();
        for_vectors(to - begin * LANES, [&](i64 i, auto lanes) {
            i += begin * LANES;
            lanes.store(y.data + i, lanes.load(a.data + i) + lanes.load(b.data + i));
        });
    });
}
END_KERNELS
