// y = f(inputs...) over arrays that broadcast to one shape. Python collapses the axes
// (pyops/ops/elementwise.py): of what is left, an input's stride in elements is 0 along an axis it
// is repeated on, and the innermost stride is 1 or 0.
#pragma once
#include "kernel.h"

BEGIN_KERNELS

struct Operand { const real* data; Dims stride; };

// Offsets of N operands along the outer axes, row by row.
template <int N> struct Rows {
    const Operand* in;
    const Dims&    shape;
    i64 index[8] = {}, offset[N] = {};
    Rows(const Operand* in, const Dims& shape, i64 row) : in(in), shape(shape) {
        for (int axis = shape.n - 2; axis >= 0; --axis) {
            index[axis] = row % shape[axis];
            row /= shape[axis];
            for (int k = 0; k < N; ++k) offset[k] += index[axis] * in[k].stride[axis];
        }
    }
    void next() {
        for (int axis = shape.n - 2; axis >= 0; --axis) {
            if (++index[axis] < shape[axis]) {
                for (int k = 0; k < N; ++k) offset[k] += in[k].stride[axis];
                return;
            }
            index[axis] = 0;
            for (int k = 0; k < N; ++k) offset[k] -= (shape[axis] - 1) * in[k].stride[axis];
        }
    }
};

// f takes an array of N vectors. A row of memory is cut into pieces of BLOCK, so that one long row
// still feeds every thread.
template <int N, class F>
static inline void broadcast(const Operand (&in)[N], const Dims& shape, Out<real> y, i64 grain, F f) {
    constexpr i64 BLOCK = 16384;
    const i64 cols = shape[shape.n - 1];
    i64 rows = 1;
    for (int axis = 0; axis < shape.n - 1; ++axis) rows *= shape[axis];
    if (rows * cols == 0) return;
    bool dense = true, moves[N];
    for (int k = 0; k < N; ++k) dense &= moves[k] = in[k].stride[shape.n - 1];
    const i64 pieces = (cols + BLOCK - 1) / BLOCK, each = cols < BLOCK ? cols : BLOCK;
    parallel_for(rows * pieces, 1 + grain / (each + 1), [&](i64 begin, i64 end) {
        Rows<N> at(in, shape, begin / pieces);
        i64 piece = begin % pieces, row = begin / pieces;
        for (i64 t = begin; t < end; ++t) {
            const i64 from = piece * BLOCK, count = cols - from < BLOCK ? cols - from : BLOCK;
            real* const out = y.data + row * cols + from;
            struct { const real* p[N]; } row_of;   // held by value, as in elementwise/cpu.cpp
            for (int k = 0; k < N; ++k) row_of.p[k] = in[k].data + at.offset[k] + (moves[k] ? from : 0);
            if (dense) {
                for_vectors(count, [=](i64 i, auto lanes) {
                    V v[N];
                    for (int k = 0; k < N; ++k) v[k] = lanes.load(row_of.p[k] + i);
                    lanes.store(out + i, f(v));
                });
            } else {
                V same[N];   // of operands that are repeated along the row
                for (int k = 0; k < N; ++k) same[k] = splat(*row_of.p[k]);
                const auto walk = [&](auto moving) {   // a constant where only the one of that number moves
                    for_vectors(count, [&, row_of, out](i64 i, auto lanes) {
                        V v[N];
                        for (int k = 0; k < N; ++k) {
                            const bool on = moving() < 0 ? moves[k] : moving() == k;
                            v[k] = on ? lanes.load(row_of.p[k] + i) : same[k];
                        }
                        lanes.store(out + i, f(v));
                    });
                };
                if (N == 2 && moves[0] && !moves[1]) walk(std::integral_constant<int, 0>{});
                else if (N == 2 && moves[N - 1] && !moves[0]) walk(std::integral_constant<int, N - 1>{});
                else walk(std::integral_constant<int, -1>{});
            }
            if (++piece == pieces) { piece = 0; ++row; at.next(); }
        }
    });
}
constexpr i64 CHEAP = 32768, COSTLY = 8192;   // elements worth a thread: bound by memory, bound by arithmetic

END_KERNELS
