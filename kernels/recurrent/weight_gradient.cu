// The gradients of a direction's weights: sums over all rows of gates, dgates' x for W_ih and
// dgates' h_before for W_hh, as products whose depth is the rows. A layer's matrices are small
// beside its rows, so the rows are cut into parts, a block each, and the parts added in order by
// recurrent_sum_parts: no atomics, the same bits every time.
#include "product.cuh"

// Right operands: row k of x, of h before the step, of what was projected
struct Rows : Across<WIDTH> {
    int column, columns, depth;
    __device__ Rows(int first, int columns, int depth)
        : column(first + outer(0)), columns(columns), depth(depth) {}
    __device__ bool inside(int k) const { return column < columns && k < depth; }
};
struct InputRows : Rows {
    const real* x;
    const int*  place;
    __device__ InputRows(int first, int columns, int depth, const real* x, const int* place)
        : Rows(first, columns, depth), x(x), place(place) {}
    __device__ acc at(int, int k) const {
        return inside(k) ? value(x[(i64)(place ? place[k] : k) * columns + column]) : acc(0);
    }
};
struct StateRows : Rows {   // before: recurrent_rows' table
    const real *y, *h0;       // at this direction
    const int *place, *before;
    int width;
    __device__ StateRows(int first, int columns, int depth, const real* y, const real* h0, const int* place,
                         const int* before, int width)
        : Rows(first, columns, depth), y(y), h0(h0), place(place), before(before), width(width) {}
    __device__ acc at(int, int k) const {
        if (!inside(k)) return 0;
        const int row = before[k];
        if (row < 0) return h0 ? value(h0[(i64)(-1 - row) * columns + column]) : acc(0);
        return value(y[(i64)(place ? place[row] : row) * width + column]);
    }
};
struct HiddenRows : Rows {   // o tanh(c), once more
    const real *gates, *cells;
    int pitch, units;
    __device__ HiddenRows(int first, int columns, int depth, const real* gates, const real* cells, int pitch,
                          int units)
        : Rows(first, columns, depth), gates(gates), cells(cells), pitch(pitch), units(units) {}
    __device__ acc at(int, int k) const {
        if (!inside(k)) return 0;
        return value(rounded(value(gates[(i64)k * pitch + 3 * columns + column]) *
                             tanh(value(cells[(i64)k * units + column]))));
    }
};

// A part of d' rows, (height, width): into parts[blockIdx.z], or if there is one part only into
// `to`, rows moved by shift
template <class Right>
__device__ void product(const real* d, int pitch, int height, int width, int depth, int each, int shift,
                        const Right& right_rows, acc* parts, real* to) {
    __shared__ Tile<HEIGHT> left;
    __shared__ Tile<WIDTH> right;
    const int row = blockIdx.x * HEIGHT, column = blockIdx.y * WIDTH, begin = blockIdx.z * each,
              end = depth < begin + each ? depth : begin + each;
    acc sum[OWN][4] = {};
    accumulate(sum, AcrossDepth<HEIGHT>(d, pitch, row, height, depth), right_rows, begin, end, left, right);
    each_value(sum, row, column, height, width, [&](int r, int c, acc v) {
        if (parts) parts[((i64)blockIdx.z * height + r) * width + c] = v;
        else to[(i64)(r + shift < height ? r + shift : r + shift - height) * width + c] = rounded(v);
    });
}

// Sums over rows of a part of them, term(row, column): the block is 32 columns x 8 rows
template <class Term> __device__ void column_sums(int rows, int columns, int each, acc* parts, Term term) {
    __shared__ acc sums[8][32];
    const int column = blockIdx.x * 32 + threadIdx.x, begin = blockIdx.y * each,
              end = rows < begin + each ? rows : begin + each;
    acc sum = 0;
    if (column < columns)
        for (int r = begin + threadIdx.y; r < end; r += 8) sum += term(r, column);
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || column >= columns) return;
    for (int i = 1; i < 8; ++i) sum += sums[i][threadIdx.x];
    parts[(i64)blockIdx.y * columns + column] = sum;
}

extern "C" {
__global__ void __launch_bounds__(256)
    recurrent_input_weights(const real* dgates, const real* x, const int* place, Dims sizes, int rows,
                            int pitch, int each, acc* parts, real* dw) {
    const Sizes z(sizes);
    product(dgates, pitch, z.columns(), z.inputs, rows, each, z.shift(),
            InputRows(blockIdx.y * WIDTH, z.inputs, rows, x, place), parts, dw);
}
__global__ void __launch_bounds__(256)
    recurrent_state_weights(const real* dgates, const real* y, const real* h0, const int* place,
                            const int* before, Dims sizes, int direction, int rows, int pitch, int each,
                            acc* parts, real* dw) {
    const Sizes z(sizes);
    product(dgates + z.recurrent_slot() * z.hidden, pitch, z.columns(), z.outputs, rows, each, 0,
            StateRows(blockIdx.y * WIDTH, z.outputs, rows, y + direction * z.outputs,
                      h0 ? h0 + z.state(direction, 0) * z.outputs : nullptr, place, before,
                      z.directions * z.outputs),
            parts, dw);
}
__global__ void __launch_bounds__(256)
    recurrent_projection_weights(const real* dprojected, const real* gates, const real* cells, Dims sizes,
                                 int rows, int projected_pitch, int pitch, int units, int each, acc* parts,
                                 real* dw) {
    const Sizes z(sizes);
    product(dprojected, projected_pitch, z.outputs, z.hidden, rows, each, 0,
            HiddenRows(blockIdx.y * WIDTH, z.hidden, rows, gates, cells, pitch, units), parts, dw);
}

__global__ void __launch_bounds__(256)
    recurrent_bias_gradient(const real* dgates, int rows, int columns, int pitch, int each, acc* parts) {
    column_sums(rows, columns, each, parts, [&](int r, int c) { return value(dgates[(i64)r * pitch + c]); });
}
// dgates of i, f and o times the cell state that each sees
__global__ void __launch_bounds__(256)
    recurrent_peephole_gradient(const real* dgates, const real* cells, const real* c0, const int* before,
                                Dims sizes, int direction, int rows, int pitch, int units, int each,
                                acc* parts) {
    const Sizes z(sizes);
    column_sums(rows, 3 * z.hidden, each, parts, [&](int r, int c) {
        const int which = c / z.hidden, u = c - which * z.hidden, now = which == 2 ? r : before[r];
        const acc cell = now >= 0 ? value(cells[(i64)now * units + u])
                         : c0     ? value(c0[z.state(direction, -1 - now) * z.hidden + u])
                                  : acc(0);
        return value(dgates[(i64)r * pitch + (which == 2 ? 3 : which) * z.hidden + u]) * cell;
    });
}

// to[(e + shift) % count] = the sum over parts of parts[part][first + e]
__global__ void __launch_bounds__(256) recurrent_sum_parts(const acc* parts, int count_of_parts, i64 pitch,
                                                           i64 first, i64 count, i64 shift, real* to) {
    for (GRID_STRIDE(e, count)) {
        acc sum = 0;
        for (int i = 0; i < count_of_parts; ++i) sum += parts[i * pitch + first + e];
        to[e + shift < count ? e + shift : e + shift - count] = rounded(sum);
    }
}
}
