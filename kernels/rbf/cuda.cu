// LeNet-5's output: y[n, k] = sum over d of (x[n, d] - w[k, d])^2, summed as it stands. The
// expanded form |x|^2 - 2 x w + |w|^2 would turn it into a matrix product but loses the small
// distances, which are the ones that decide. Tiles of x and w meet in shared memory. Its loss: y_t
// + log(e^-j + sum over i of e^-y_i), with the largest term taken out of the sum; a warp a sample.
#include "loss/sums.cuh"
#include "index.cuh"

// a pitch of 33: threads of one column read different banks
constexpr int SIDE = 16, DEPTH = 32, PITCH = DEPTH + 1;

// SIDE rows of `from` from `first` on, columns [d, d + DEPTH); zeros where there are none.
__device__ __forceinline__ void fetch(const real* from, int first, int rows, int d, int width, acc* tile) {
    for (int t = threadIdx.y * SIDE + threadIdx.x; t < SIDE * DEPTH; t += SIDE * SIDE) {
        const int r = t / DEPTH, c = t % DEPTH;
        tile[r * PITCH + c] =
            first + r < rows && d + c < width ? value(from[(i64)(first + r) * width + d + c]) : acc(0);
    }
}

// The smallest of j and a sample's y_i, and the sum of e^(smallest - each): log(e^-j + sum of
// e^-y_i) is -low + log(total).
struct Competition { acc low, total; };
__device__ __forceinline__ Competition competition(const real* y, int classes, acc j) {
    const int lane = threadIdx.x & 31;
    acc low = j, total = 0;
    for (int i = lane; i < classes; i += 32) low = smaller(low, value(y[i]));
    low = warp_reduce<Min>(low);
    for (int i = lane; i < classes; i += 32) total += exp(low - value(y[i]));
    return {low, warp_reduce<Sum>(total) + exp(low - j)};
}

extern "C" {
__global__ void __launch_bounds__(256)
    squared_euclidean(const real* x, const real* w, int samples, int centres, int width, int tiles, real* y) {
    __shared__ acc xs[SIDE * PITCH], ws[SIDE * PITCH];
    const int row = blockIdx.x / tiles, n = row * SIDE, k = (blockIdx.x - row * tiles) * SIDE;
    acc sum = 0;
    for (int d = 0; d < width; d += DEPTH) {
        __syncthreads();   // the tiles before these have been used
        fetch(x, n, samples, d, width, xs);
        fetch(w, k, centres, d, width, ws);
        __syncthreads();
#pragma unroll
        for (int c = 0; c < DEPTH; ++c) {
            const acc e = xs[threadIdx.y * PITCH + c] - ws[threadIdx.x * PITCH + c];
            sum += e * e;
        }
    }
    if (n + threadIdx.y < samples && k + threadIdx.x < centres)
        y[(i64)(n + threadIdx.y) * centres + k + threadIdx.x] = rounded(sum);
}

// dx[n] = 2 sum over k of g[n, k] (x[n] - w[k]); or, of a chunk of the k's, that sum alone.
// blockIdx.y: the chunk
__global__ void __launch_bounds__(256)
    squared_euclidean_backward(const real* g, const real* x, const real* w, int total, int centres, int width,
                               int chunk, real* dx, acc* partial) {
    const int from = blockIdx.y * chunk, to = min(from + chunk, centres);
    for (GRID_STRIDE(t, total)) {
        const int n = (int)t / width, d = (int)t - n * width;
        const acc v = value(x[t]);
        acc sum = 0;
#pragma unroll 4
        for (int k = from; k < to; ++k)
            sum += value(g[(i64)n * centres + k]) * (v - value(w[(i64)k * width + d]));
        if (partial) partial[(i64)blockIdx.y * total + t] = sum;
        else dx[t] = rounded(2 * sum);
    }
}

// A label that is no class is never followed: it makes its loss NaN, by which the caller knows.
__global__ void __launch_bounds__(256)
    lenet5_loss(const real* y, const i64* index, acc j, int rows, int classes, real* loss, acc* partial) {
    const i64 r = thread_index() >> 5;
    acc mine = 0;
    if (r < rows) {
        y += r * classes;
        const Competition c = competition(y, classes, j);
        const i64 label = index[r];
        const acc v =
            label < 0 || label >= classes ? not_a_number() : (value(y[label]) - c.low) + log(c.total);
        if ((threadIdx.x & 31) == 0) {
            if (loss) loss[r] = rounded(v);
            mine = v;
        }
    }
    block_sums(mine, 0, partial);
}
__global__ void __launch_bounds__(256) finish(const acc* partial, int n, acc count, real* y, real* divisor) {
    finish_sums(partial, n, count, y, divisor);
}

// dy_i = [i = t] - e^-y_i / (e^-j + sum of e^-y_k)
__global__ void __launch_bounds__(256)
    lenet5_loss_backward(const real* g, int each, const real* y, const i64* index, const real* divisor, acc j,
                         int rows, int classes, real* dy) {
    const i64 r = thread_index() >> 5;
    if (r >= rows) return;
    y += r * classes;
    const Competition c = competition(y, classes, j);
    const acc scale = value(g[each ? r : 0]) / value(*divisor), share = scale / c.total;
    const i64 label = index[r];
    for (int i = threadIdx.x & 31; i < classes; i += 32)
        dy[r * classes + i] = rounded((i == label ? scale : acc(0)) - share * exp(c.low - value(y[i])));
}
}
