// A view of any strides, made contiguous. Strides are in values and may be zero or negative; x
// points at the view's first element.
//
// Where rows of the result are columns of the view, squares of LANES values are transposed in
// registers: whole vectors are read along the axis whose values are neighbours, and written along
// the last.
#include "blocked/epilogue.h"

BEGIN_KERNELS
namespace {
// Rows [0, rows) of `columns` values each, `pitch` apart, become columns of y, `to` values apart.
void transpose_square(const real* x, i64 pitch, i64 rows, i64 columns, real* y, i64 to) {
    V v[LANES];
    #pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i)
        v[i] = i >= rows          ? V{}
               : columns == LANES ? load(x + i * pitch)
                                  : load(x + i * pitch, (int)columns);
    interleave(v);
    #pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i)
        if (i < columns) {
            if (rows == LANES) store(y + i * to, v[i]);
            else store(y + i * to, v[i], (int)rows);
        }
}

// The axis of y, not the last, along which the view's values are neighbours; -1: none
int axis_of_neighbours(const Dims& strides, const Out<real>& y) {
    for (int axis = y.ndim - 2; axis >= 0; --axis)
        if (strides[axis] == 1 && y.dim(axis) > 1) return axis;
    return -1;
}

void transposed_copy(In<real> x, const Dims& strides, int axis, Out<real> y) {
    const int last = y.ndim - 1;
    const i64 width = y.dim(last), along = y.dim(axis), strips = (along + LANES - 1) / LANES;
    i64 to = 1, rest = 1;   // values of y from one place on the axis to the next
    for (int i = axis + 1; i <= last; ++i) to *= y.dim(i);
    for (int i = 0; i < last; ++i) rest *= i == axis ? 1 : y.dim(i);
    parallel_for(rest * strips, 1 + 1024 / (width + 1), [&](i64 begin, i64 end) {
        for (i64 task = begin; task < end; ++task) {
            const i64 first = task % strips * LANES, count = along - first < LANES ? along - first : LANES;
            i64 from = first, at = first * to, step = width;
            for (i64 i = last - 1, left = task / strips; i >= 0; --i) {
                if (i != axis) {
                    from += left % y.dim((int)i) * strides[(int)i];
                    at += left % y.dim((int)i) * step;
                    left /= y.dim((int)i);
                }
                step *= y.dim((int)i);
            }
            for (i64 c = 0; c < width; c += LANES)
                transpose_square(x.data + from + c * strides[last], strides[last],
                                 width - c < LANES ? width - c : LANES, count, y.data + at + c, to);
        }
    });
}
}  // namespace

void strided_copy(In<real> x, Dims strides, Out<real> y) {
    const int last = y.ndim - 1;
    const i64 width = last >= 0 ? y.dim(last) : 1, step = last >= 0 ? strides[last] : 1;
    const i64 rows = width ? y.size() / width : 0;
    if (step != 1 && width >= 4)
        if (const int axis = axis_of_neighbours(strides, y); axis >= 0 && y.dim(axis) >= 4)
            return transposed_copy(x, strides, axis, y);
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
        const Clamp clamp(e);
        for (i64 i = begin * LANES; i < end * LANES; i += LANES) {
            const int n = y.size() - i < LANES ? (int)(y.size() - i) : LANES;
            alignas(64) real v[LANES];
            store(v, clamp(load(y.data + i, n)));
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
