// cross_entropy and nll_loss, fused with log_softmax and the reduction. With a_c the weight that a
// position puts on class c,
//
//     loss = sum over c of a_c (log sum over k of e^x_k - x_c)
//
// For class index y: a_c = w_y (1 - s) [c = y] + w_c s / C; for probabilities t: a_c = w_c (t_c
// (1 - s) + s / C); s is the label smoothing. Only the peak of x, the log of the sum of e^(x -
// peak) and the sum of a are kept per position, from which the gradient for x, sum(a) softmax(x)
// - a, follows in one pass. peak - x is taken before the log is added: the other order loses the
// digits of a large peak.
//
// Logits are (outer, classes, inner). inner = 1: `lanes` threads a position, a warp where classes
// are few, else a block. Otherwise one thread a position, so that a warp reads the same class of
// neighbours. An index that is neither a class nor ignored is never followed: it makes its loss
// NaN, by which the caller knows.
#include "sums.cuh"
#include "index.cuh"

struct Labels {
    const i64* index;
    const real* weight;
    i64 ignore;
    int classes;
    __device__ __forceinline__ bool ignored(i64 p) const { return index[p] == ignore; }
    __device__ __forceinline__ bool valid(i64 p) const {
        return !ignored(p) && index[p] >= 0 && index[p] < classes;
    }
    __device__ __forceinline__ acc weight_of(i64 p) const {
        return weight ? value(weight[index[p]]) : acc(1);
    }
};

struct Problem {
    const real *x, *t;
    Labels labels;
    acc keep, spread;   // 1 - smoothing, smoothing / C
    // every class has a coefficient, not only the labelled one
    __device__ __forceinline__ bool dense() const { return t || spread != 0; }
    // The part of a that is there for every class, at offset `at` of the logits.
    __device__ __forceinline__ acc coefficient(i64 at, int c) const {
        const acc a = t ? value(t[at]) * keep + spread : spread;
        return labels.weight ? a * value(labels.weight[c]) : a;
    }
};

struct Results { real *y, *peak, *logsum, *mass; };   // no y where losses are reduced

// Of one position, by the thread that has its sums; dot is that of a and -log softmax(x), `at` is
// the offset of its class 0, `stride` that from class to class.
struct Loss { acc loss, weight; };
__device__ __forceinline__ Loss settle(const Problem& p, const Results& to, i64 position, i64 at, i64 stride,
                                       acc peak, acc logsum, acc dot, acc mass) {
    Loss r{dot, 1};
    if (p.labels.index) {
        if (p.labels.ignored(position)) {
            r = {0, 0};
            mass = 0;
        } else if (!p.labels.valid(position)) {
            r.loss = not_a_number();
        } else {
            r.weight = p.labels.weight_of(position);
            const acc hard = p.keep * r.weight;
            r.loss += hard * ((peak - value(p.x[at + p.labels.index[position] * stride])) + logsum);
            mass += hard;
        }
    }
    if (to.y) to.y[position] = rounded(r.loss);
    to.peak[position] = rounded(peak);
    to.logsum[position] = rounded(logsum);
    to.mass[position] = rounded(mass);
    return r;
}

// Sums over `lanes` threads: a warp's, or with lanes = blockDim.x the block's.
template <class R> __device__ __forceinline__ acc over_lanes(acc v, int lanes, acc* slots) {
    return lanes == 32 ? warp_reduce<R>(v) : block_reduce<R>(v, slots);
}

__device__ __forceinline__ void forward_along(const Problem& p, const Results& to, int positions, int lanes,
                                              acc* partial) {
    __shared__ acc slots[32];
    const int lane = threadIdx.x % lanes, classes = p.labels.classes;
    const i64 position = thread_index() / lanes, at = position * classes;
    const int count = position < positions ? classes : 0;
    acc peak = -infinity(), sum = 0, dot = 0, mass = 0;
    for (int c = lane; c < count; c += lanes) peak = larger(peak, value(p.x[at + c]));
    peak = over_lanes<Max>(peak, lanes, slots);
    for (int c = lane; c < count; c += lanes) sum += exp(value(p.x[at + c]) - peak);
    const acc logsum = log(over_lanes<Sum>(sum, lanes, slots));
    if (p.dense()) {
        for (int c = lane; c < count; c += lanes) {
            const acc a = p.coefficient(at + c, c);
            dot += a * ((peak - value(p.x[at + c])) + logsum);
            mass += a;
        }
        dot = over_lanes<Sum>(dot, lanes, slots);
        mass = over_lanes<Sum>(mass, lanes, slots);
    }
    Loss loss{0, 0};
    if (lane == 0 && count) loss = settle(p, to, position, at, 1, peak, logsum, dot, mass);
    block_sums(loss.loss, loss.weight, partial);
}

__device__ __forceinline__ void forward_across(const Problem& p, const Results& to, int positions, int inner,
                                               acc* partial) {
    const int position = (int)thread_index(), classes = p.labels.classes;
    Loss loss{0, 0};
    if (position < positions) {
        const int o = position / inner;
        const i64 at = (i64)o * classes * inner + (position - o * inner);
        acc peak = -infinity(), sum = 0, dot = 0, mass = 0;
#pragma unroll 4
        for (int c = 0; c < classes; ++c) peak = larger(peak, value(p.x[at + (i64)c * inner]));
        for (int c = 0; c < classes; ++c) sum += exp(value(p.x[at + (i64)c * inner]) - peak);
        const acc logsum = log(sum);
        for (int c = 0; c < classes && p.dense(); ++c) {
            const i64 here = at + (i64)c * inner;
            const acc a = p.coefficient(here, c);
            dot += a * ((peak - value(p.x[here])) + logsum);
            mass += a;
        }
        loss = settle(p, to, position, at, inner, peak, logsum, dot, mass);
    }
    block_sums(loss.loss, loss.weight, partial);
}

// ---- gradients: a Slope is told the position, then asked for every class

struct Incoming {   // one g for all, or one a position
    const real *g, *divisor;
    int each;
    __device__ __forceinline__ acc of(i64 position) const {
        return value(g[each ? position : 0]) / value(*divisor);
    }
};

struct OfLogits {
    Problem p;
    Incoming in;
    const real *peaks, *logsums, *masses;
    acc scale, peak, logsum, mass, hard;
    int label;
    __device__ __forceinline__ void at_position(i64 position) {
        peak = value(peaks[position]), logsum = value(logsums[position]), mass = value(masses[position]);
        const bool labelled = p.labels.index && p.labels.valid(position);
        scale = p.labels.index && !labelled ? acc(0) : in.of(position);
        label = labelled ? (int)p.labels.index[position] : -1;
        hard = labelled ? p.keep * p.labels.weight_of(position) : acc(0);
    }
    __device__ __forceinline__ acc operator()(i64 at, int c) const {
        acc v = mass * exp((value(p.x[at]) - peak) - logsum);
        if (p.dense()) v -= p.coefficient(at, c);
        if (c == label) v -= hard;
        return v * scale;
    }
};
struct OfProbabilities {   // (1 - smoothing) w_c (peak - x_c + logsum)
    const real *x, *weight;
    Incoming in;
    const real *peaks, *logsums;
    acc keep, scale, peak, logsum;
    __device__ __forceinline__ void at_position(i64 position) {
        peak = value(peaks[position]), logsum = value(logsums[position]), scale = in.of(position) * keep;
    }
    __device__ __forceinline__ acc operator()(i64 at, int c) const {
        const acc v = scale * ((peak - value(x[at])) + logsum);
        return weight ? v * value(weight[c]) : v;
    }
};
struct OfLogProbabilities {
    Labels labels;
    Incoming in;
    int label;
    acc slope;
    __device__ __forceinline__ void at_position(i64 position) {
        const bool valid = labels.valid(position);
        label = valid ? (int)labels.index[position] : -1;
        slope = valid ? -in.of(position) * labels.weight_of(position) : acc(0);
    }
    __device__ __forceinline__ acc operator()(i64, int c) const { return c == label ? slope : acc(0); }
};

// inner = 1: `lanes` threads a position; else one
template <class S>
__device__ __forceinline__ void slopes(S s, int positions, int classes, int inner, int lanes, real* dx) {
    const i64 position = thread_index() / lanes;
    if (position >= positions) return;
    const int o = (int)position / inner;
    const i64 at = (i64)o * classes * inner + (position - (i64)o * inner);
    s.at_position(position);
#pragma unroll 4
    for (int c = threadIdx.x % lanes; c < classes; c += lanes)
        dx[at + (i64)c * inner] = rounded(s(at + (i64)c * inner, c));
}

extern "C" {
__global__ void __launch_bounds__(256)
    cross_entropy_along(const real* x, const i64* index, const real* t, const real* weight, i64 ignore,
                        acc keep, acc spread, int positions, int classes, int lanes, real* y, real* peak,
                        real* logsum, real* mass, acc* partial) {
    forward_along({x, t, {index, weight, ignore, classes}, keep, spread}, {y, peak, logsum, mass}, positions,
                  lanes, partial);
}
__global__ void __launch_bounds__(256)
    cross_entropy_across(const real* x, const i64* index, const real* t, const real* weight, i64 ignore,
                         acc keep, acc spread, int positions, int classes, int inner, real* y, real* peak,
                         real* logsum, real* mass, acc* partial) {
    forward_across({x, t, {index, weight, ignore, classes}, keep, spread}, {y, peak, logsum, mass}, positions,
                   inner, partial);
}
__global__ void __launch_bounds__(256)
    nll_loss(const real* x, const i64* index, const real* weight, i64 ignore, int positions, int classes,
             int inner, real* y, acc* partial) {
    const int position = (int)thread_index(), o = position / inner;
    const Labels labels{index, weight, ignore, classes};
    Loss r{0, 0};
    if (position < positions) {
        if (labels.valid(position)) {
            r.weight = labels.weight_of(position);
            r.loss =
                -r.weight * value(x[((i64)o * classes + index[position]) * inner + (position - o * inner)]);
        } else if (!labels.ignored(position)) {
            r.loss = not_a_number();
        }
        if (y) y[position] = rounded(r.loss);
    }
    block_sums(r.loss, r.weight, partial);
}
__global__ void __launch_bounds__(256) finish(const acc* partial, int n, acc count, real* y, real* divisor) {
    finish_sums(partial, n, count, y, divisor);
}

__global__ void __launch_bounds__(256)
    cross_entropy_backward(const real* g, int each, const real* x, const i64* index, const real* t,
                           const real* weight, const real* divisor, const real* peak, const real* logsum,
                           const real* mass, i64 ignore, acc keep, acc spread, int positions, int classes,
                           int inner, int lanes, real* dx) {
    slopes(
        OfLogits{
            {x, t, {index, weight, ignore, classes}, keep, spread}, {g, divisor, each}, peak, logsum, mass},
        positions, classes, inner, lanes, dx);
}
__global__ void __launch_bounds__(256)
    cross_entropy_target_backward(const real* g, int each, const real* x, const real* weight,
                                  const real* divisor, const real* peak, const real* logsum, acc keep,
                                  int positions, int classes, int inner, int lanes, real* dt) {
    slopes(OfProbabilities{x, weight, {g, divisor, each}, peak, logsum, keep}, positions, classes, inner,
           lanes, dt);
}
__global__ void __launch_bounds__(256)
    nll_loss_backward(const real* g, int each, const i64* index, const real* weight, const real* divisor,
                      i64 ignore, int positions, int classes, int inner, int lanes, real* dx) {
    slopes(OfLogProbabilities{{index, weight, ignore, classes}, {g, divisor, each}}, positions, classes,
           inner, lanes, dx);
}
}
