// Weights in the order in which steps read them (layout.cuh): a thread owns a column of the gates,
// so that neighbours read neighbours.
#include "layout.cuh"

extern "C" {
// to[k][j] = w[(j + shift) % rows][k]: 32 x 32 tiles by way of shared memory, rows read
// and written along memory
__global__ void __launch_bounds__(256)
    recurrent_transpose(const real* w, int rows, int depth, int shift, real* to) {
    __shared__ real tile[32][33];
    const int x = threadIdx.x & 31, y = threadIdx.x >> 5, k0 = blockIdx.x * 32, j0 = blockIdx.y * 32;
    for (int i = y; i < 32 && j0 + i < rows; i += 8) {
        const int row = j0 + i + shift < rows ? j0 + i + shift : j0 + i + shift - rows;
        if (k0 + x < depth) tile[i][x] = w[(i64)row * depth + k0 + x];
    }
    __syncthreads();
    for (int i = y; i < 32 && k0 + i < depth; i += 8)
        if (j0 + x < rows) to[(i64)(k0 + i) * rows + j0 + x] = tile[x][i];
}

// to[e] = w[(e + shift) % count]: rows in another order
__global__ void __launch_bounds__(256) recurrent_rotate(const real* w, i64 count, i64 shift, real* to) {
    for (GRID_STRIDE(e, count)) to[e] = w[e + shift < count ? e + shift : e + shift - count];
}

// Biases by slot, x's plus h's, and the peepholes
__global__ void __launch_bounds__(256)
    recurrent_bias(const real* b_ih, const real* b_hh, const real* peephole, Dims sizes, real* packed) {
    const Sizes  z(sizes);
    const Packed at(z, peephole != nullptr);
    const int columns = z.columns(), count = (int)(at.peephole - at.bias),
              first = z.recurrent_slot() * z.hidden;
    for (GRID_STRIDE(e, count)) {
        acc sum = 0;
        if (b_ih && e < columns)
            sum += value(b_ih[e + z.shift() < columns ? e + z.shift() : e + z.shift() - columns]);
        if (b_hh && e >= first) sum += value(b_hh[e - first]);
        packed[at.bias + e] = rounded(sum);
    }
    if (peephole)
        for (GRID_STRIDE(e, 3 * z.hidden)) packed[at.peephole + e] = peephole[e];
}

// Block n: where sample n's rows of gates begin, the row of x of each, and the row of gates of the
// iteration before it, for the first iteration -1 - n. Any of the tables may be null.
__global__ void __launch_bounds__(128)
    recurrent_rows(const i64* lengths, Dims sizes, int direction, int* offsets, int* place, int* before) {
    __shared__ int first;
    const Sizes z(sizes);
    const Order order(z, lengths, nullptr);
    const int n = blockIdx.x;
    if (threadIdx.x == 0) first = 0;
    __syncthreads();
    if (lengths) {
        int sum = 0;
        for (int i = threadIdx.x; i < n; i += blockDim.x) sum += (int)lengths[i];
        atomicAdd(&first, sum);   // integers: any order
        __syncthreads();
        if (offsets && threadIdx.x == 0) offsets[n] = first;
    }
    const int length = order.length(n);
    for (int t = threadIdx.x; t < length; t += blockDim.x) {
        const int now = (int)order.place(t, n), row = lengths ? first + t : now,
                  back = direction ? t + 1 : t - 1;
        if (place) place[row] = now;
        if (before)
            before[row] = back < 0 || back >= length ? -1 - n
                          : lengths                  ? first + back
                                                     : (int)order.place(back, n);
    }
}
}
