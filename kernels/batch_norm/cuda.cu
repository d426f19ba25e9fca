// batch_norm: y = (x - mean) * rstd * weight + bias per channel of (N, C, ...), rstd = 1 / sqrt(var
// + eps), and its gradient.
//
// In training three kernels: moments (or gradient sums) of pieces of channels, the pieces
// joined, and every value once more. The last finds in the second-level cache what fits there.
// (N, C) without further axes has channels side by side: there a warp's lanes take 32 channels
// and walk the samples.
#include "lines.cuh"

extern "C" {

__global__ void __launch_bounds__(256)
    batch_norm_apply(const real* x, const real* mean, const real* var, const real* weight, const real* bias,
                     acc eps, real* y, i64 size, int run, int channels, int per_group) {
    normalise(x, mean, var, weight, bias, eps, y, size, {run, channels, per_group});
}
__global__ void __launch_bounds__(256)
    batch_norm_apply_made(const real* x, const acc* mean, const acc* var, const real* weight,
                          const real* bias, acc eps, real* y, i64 size, int run, int channels,
                          int per_group) {
    normalise(x, mean, var, weight, bias, eps, y, size, {run, channels, per_group});
}
__global__ void __launch_bounds__(256, 4)
    batch_norm_gradient(const real* dy, const real* x, const real* weight, const acc* mean, const acc* var,
                        const acc* coefficients, acc eps, real* dx, i64 size, int run, int channels,
                        int per_group) {
    gradient(dy, x, weight, mean, var, coefficients, eps, dx, size, {run, channels, per_group});
}

__global__ void __launch_bounds__(256)
    line_moments(const real* x, i64 lines, int samples, int run, int pieces, int span, acc* partial) {
    const Piece piece(lines, pieces, span, samples * run);
    if (piece.none) return;   // whole warps: a block of several lines has a warp for each
    const Line line{run, lines * run, aligned(x) && run % LANES == 0};
    const Moments all = joined(moments_of_piece(x + piece.line * run, line, piece.begin, piece.end));
    if (threadIdx.x == 0) all.put(partial + (piece.line * pieces + piece.index) * Moments::PARTS);
}

// Line l's mean is mean[l / share]
__global__ void __launch_bounds__(256)
    line_gradients(const real* dy, const real* x, const acc* mean, int share, i64 lines, int samples, int run,
                   int pieces, int span, acc* partial) {
    const Piece piece(lines, pieces, span, samples * run);
    if (piece.none) return;
    const Line line{run, lines * run, aligned(x) && aligned(dy) && run % LANES == 0};
    const i64 from = piece.line * run;
    const GradientSums all = joined(
        gradients_of_piece(dy + from, x + from, line, piece.begin, piece.end, mean[piece.line / share]));
    if (threadIdx.x == 0) all.put(partial + (piece.line * pieces + piece.index) * GradientSums::PARTS);
}

__global__ void __launch_bounds__(256)
    column_moments(const real* x, i64 channels, int samples, int span, acc* partial) {
    column_piece<Moments>(channels, samples, span, partial, [&](int c, int n, int end) {
        acc v[4];
        const int live = min(4, end - n);
#pragma unroll
        for (int k = 0; k < 4; ++k) v[k] = k < live ? value(x[(n + k) * channels + c]) : acc(0);
        const acc mean = (v[0] + v[1] + v[2] + v[3]) / acc(live);
        acc rest = 0, squares = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const acc d = k < live ? v[k] - mean : acc(0);
            rest += d;
            squares += d * d;
        }
        const acc off = rest / acc(live);
        return Moments{acc(live), mean + off, squares - rest * off};
    });
}

__global__ void __launch_bounds__(256) column_gradients(const real* dy, const real* x, const acc* mean,
                                                        i64 channels, int samples, int span, acc* partial) {
    column_piece<GradientSums>(channels, samples, span, partial, [&](int c, int n, int end) {
        GradientSums sums = GradientSums::none();
        const acc m = mean[c];
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (n + k < end) {
                const i64 at = (n + k) * channels + c;
                const acc g = value(dy[at]);
                sums.g += g;
                sums.gx += g * (value(x[at]) - m);
            }
        return sums;
    });
}

__global__ void __launch_bounds__(256)
    join_moments(const acc* partial, i64 lines, int pieces, i64 across, i64 along, acc* mean, acc* var) {
    const i64 line = (i64)blockIdx.x * 8 + (threadIdx.x >> 5);
    if (line >= lines) return;
    const Moments all = line_of<Moments>(partial, line, pieces, across, along);
    if (threadIdx.x & 31) return;
    mean[line] = all.mean;
    var[line] = all.variance();
}

// share: 1 / values of a channel in training, where its mean and variance move with x; else 0
__global__ void __launch_bounds__(256)
    join_gradients(const acc* partial, i64 lines, int pieces, i64 across, i64 along, const acc* var,
                   const real* weight, acc eps, acc share, real* dweight, real* dbias, acc* coefficients) {
    const i64 line = (i64)blockIdx.x * 8 + (threadIdx.x >> 5);
    if (line >= lines) return;
    const GradientSums all = line_of<GradientSums>(partial, line, pieces, across, along);
    if (threadIdx.x & 31) return;
    const acc gn = all.gx * reciprocal_deviation(var[line], eps),
              w = (weight ? value(weight[line]) : acc(1)) * share;
    dweight[line] = rounded(gn);
    dbias[line] = rounded(all.g);
    coefficients[2 * line] = all.g * w;
    coefficients[2 * line + 1] = gn * w;
}

__global__ void __launch_bounds__(256)
    move_towards_all(const real* batch, acc keep, acc take, real* running, i64 size) {
    for (GRID_STRIDE(i, size)) running[i] = rounded(value(running[i]) * keep + value(batch[i]) * take);
}
}
