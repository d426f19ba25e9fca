// LeNet-5's output: y[n, k] = sum over d of (x[n, d] - w[k, d])^2, summed as it stands. The
// expanded form |x|^2 - 2 x w + |w|^2 would turn it into a matrix product but loses the small
// distances, which are the ones that decide.
// Its loss: y_t + log(e^-j + sum over i of e^-y_i), with the largest term taken out of the sum.
#include "kernel.h"
#include "simd_math.h"

BEGIN_KERNELS

constexpr i64 CENTRES = 4;   // rows of w that share a load of x

// Distances of x to C centres, `width` apart.
template <int C> static void distances(const real* x, const real* w, i64 width, real* y) {
    V sum[C] = {};
    for_vectors(width, [&](i64 d, auto lanes) {
        const V v = lanes.load(x + d);
        for (int c = 0; c < C; ++c) {
            const V e = v - lanes.load(w + c * width + d);
            sum[c] += e * e;
        }
    });
    for (int c = 0; c < C; ++c) y[c] = hsum(sum[c]);
}

void squared_euclidean(In<real> x, In<real> w, Out<real> y) {
    const i64 width = x.dim(1), centres = w.dim(0);
    parallel_for(x.dim(0), 1 + 32768 / (centres * width + 1), [&](i64 begin, i64 end) {
        for (i64 n = begin; n < end; ++n) {
            i64 k = 0;
            for (; k + CENTRES <= centres; k += CENTRES)
                distances<CENTRES>(x.data + n * width, w.data + k * width, width, y.data + n * centres + k);
            for (; k < centres; ++k)
                distances<1>(x.data + n * width, w.data + k * width, width, y.data + n * centres + k);
        }
    });
}

// dx[n] = 2 sum over k of g[n, k] (x[n] - w[k])
void squared_euclidean_backward(In<real> g, In<real> x, In<real> w, Out<real> dx) {
    const i64 width = x.dim(1), centres = w.dim(0), blocks = (width + LANES - 1) / LANES;
    parallel_for(x.dim(0) * blocks, 1 + 8192 / (centres + 1), [&](i64 begin, i64 end) {
        for (i64 b = begin; b < end; ++b) {
            const i64 n = b / blocks, d = b % blocks * LANES;
            const Tail lanes{(int)(width - d < LANES ? width - d : LANES)};
            const V v = lanes.load(x.data + n * width + d);
            V sum{};
            for (i64 k = 0; k < centres; ++k)
                sum += g.data[n * centres + k] * (v - lanes.load(w.data + k * width + d));
            lanes.store(dx.data + n * width + d, 2 * sum);
        }
    });
}

// log(e^-j + sum of e^-y_i) as -low + log(total), low the smallest of j and the y_i.
struct Competition { real low, total; };
static Competition competition(const real* y, i64 classes, real j) {
    real low = j;
    for (i64 i = 0; i < classes; ++i) low = y[i] < low ? y[i] : low;
    V total{};
    for_vectors(classes, [&](i64 i, auto lanes) { total += lanes.keep(vexp(low - lanes.load(y + i))); });
    return {low, hsum(total) + vexp(splat(low - j))[0]};
}

// A label that is no class makes its loss NaN, by which the caller knows.
void lenet5_loss(In<real> y, In<i64> index, double j, bool each, double count, Out<real> loss,
                 Out<real> divisor) {
    const i64 rows = y.dim(0), classes = y.dim(1);
    Scratch<real> losses(rows);
    parallel_for(rows, 1 + 4096 / (classes + 1), [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) {
            const real* yr = y.data + r * classes;
            const Competition c = competition(yr, classes, (real)j);
            const i64  label = read_once(index.data + r);
            losses[r] =
                label < 0 || label >= classes ? NOT_A_NUMBER : (yr[label] - c.low) + vlog(splat(c.total))[0];
        }
    });
    double sum = 0;
    for (i64 r = 0; r < rows; ++r) sum += losses[r];
    if (each)
        std::memcpy(loss.data, losses, rows * sizeof(real));
    else
        *loss.data = real(sum / count);
    *divisor.data = real(count);
}

// dy_i = [i = t] - e^-y_i / (e^-j + sum of e^-y_k)
void lenet5_loss_backward(In<real> g, In<real> y, In<i64> index, In<real> divisor, double j, Out<real> dy) {
    const i64 rows = y.dim(0), classes = y.dim(1);
    parallel_for(rows, 1 + 4096 / (classes + 1), [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) {
            const real* yr = y.data + r * classes;
            const Competition c = competition(yr, classes, (real)j);
            const real scale = (g.ndim ? g.data[r] : g.data[0]) / divisor.data[0], share = -scale / c.total;
            for_vectors(classes, [&](i64 i, auto lanes) {
                lanes.store(dy.data + r * classes + i, share * vexp(c.low - lanes.load(yr + i)));
            });
            if (const i64 label = read_once(index.data + r); label >= 0 && label < classes)
                dy.data[r * classes + label] += scale;
        }
    });
}

END_KERNELS
