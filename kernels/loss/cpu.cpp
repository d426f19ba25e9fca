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
#include "classes.h"
#include "simd_math.h"

BEGIN_KERNELS

struct Problem {
    Classes     s;
    const real *x, *t, *w;
    real        keep, spread;   // 1 - smoothing, smoothing / C
    // every class has a coefficient, not only the labelled one
    bool dense() const { return t || spread != 0; }
    // The part of a that is there for every class, at offset `at` of the logits.
    template <class L> V row_coefficient(i64 at, i64 c, L lanes) const {
        const V a = t ? lanes.load(t + at) * keep + spread : splat(spread);
        return w ? a * lanes.load(w + c) : a;
    }
    template <class L> V column_coefficient(i64 at, i64 c, L lanes) const {
        const V a = t ? lanes.load(t + at) * keep + spread : splat(spread);
        return w ? a * w[c] : a;
    }
};

static V alive(Whole, V v, real) { return v; }
static V alive(Tail lanes, V v, real dead) { return lane_index() < (lane_int)lanes.count ? v : splat(dead); }
static real hmax(V v) {
    real m = v[0];
    for (int i = 1; i < LANES; ++i) m = v[i] > m ? v[i] : m;
    return m;
}

// Of each position of a chunk. dot: of a and -log softmax(x), product by product, so that an
// infinite a meets no difference of 0.
struct Moments { real peak[MOST_POSITIONS], sum[MOST_POSITIONS], dot[MOST_POSITIONS], mass[MOST_POSITIONS]; };

static void row_moments(const Problem& p, const Chunk& chunk, Moments& m) {
    const i64 classes = p.s.classes;
    for (i64 r = 0; r < chunk.count; ++r) {
        const i64   at = chunk.offset + r * classes;
        const real* x  = p.x + at;
        V top = splat(-INF), sum{}, dot{}, mass{};
        for_vectors(classes,
                    [&](i64 c, auto lanes) { top = vmax(alive(lanes, lanes.load(x + c), -INF), top); });
        const real peak = hmax(top);
        for_vectors(classes, [&](i64 c, auto lanes) { sum += lanes.keep(vexp(lanes.load(x + c) - peak)); });
        if (p.dense()) {
            const V log = vlog(splat(hsum(sum)));
            for_vectors(classes, [&](i64 c, auto lanes) {
                const V a = lanes.keep(p.row_coefficient(at + c, c, lanes));
                dot += lanes.keep(a * ((peak - lanes.load(x + c)) + log));
                mass += a;
            });
        }
        m.peak[r] = peak, m.sum[r] = hsum(sum), m.dot[r] = hsum(dot), m.mass[r] = hsum(mass);
    }
}

static void column_moments(const Problem& p, const Chunk& chunk, Moments& m) {
    const i64 classes = p.s.classes, inner = p.s.inner;
    for_vectors(chunk.count, [&](i64 i, auto lanes) {
        const real* x = p.x + chunk.offset + i;
        V peak = splat(-INF), sum{}, dot{}, mass{};
        for (i64 c = 0; c < classes; ++c) peak = vmax(lanes.load(x + c * inner), peak);
        for (i64 c = 0; c < classes; ++c) sum += vexp(lanes.load(x + c * inner) - peak);
        if (p.dense()) {
            const V log = vlog(sum);
            for (i64 c = 0; c < classes; ++c) {
                const V a = p.column_coefficient(chunk.offset + i + c * inner, c, lanes);
                dot += a * ((peak - lanes.load(x + c * inner)) + log);
                mass += a;
            }
        }
        lanes.store(m.peak + i, peak);
        lanes.store(m.sum + i, sum);
        lanes.store(m.dot + i, dot);
        lanes.store(m.mass + i, mass);
    });
}

void cross_entropy(In<real> x, In<i64> index, In<real> probabilities, In<real> weight, i64 ignore,
                   double smoothing, i64 reduction, Out<real> y, Out<real> divisor, Out<real> peak,
                   Out<real> logsum, Out<real> mass) {
    const Classes s = classes_of(x);
    const Problem p{
        s, x.data, probabilities.data, weight.data, real(1 - smoothing), real(smoothing / s.classes)};
    const Labels  labels{index.data, weight.data, s.classes, ignore};
    Scratch<Sums> sums(chunks_of(s));
    for_chunks(s, [&](i64 number, const Chunk& chunk) {
        Moments m;
        s.inner == 1 ? row_moments(p, chunk, m) : column_moments(p, chunk, m);
        for_vectors(chunk.count,
                    [&](i64 i, auto lanes) { lanes.store(m.sum + i, vlog(lanes.load(m.sum + i))); });
        Sums total{0, 0};
        for (i64 i = 0; i < chunk.count; ++i) {
            const i64 at = chunk.first + i, label = index ? labels[at] : 0;
            real loss = m.dot[i], of = 1;
            if (index && labels.ignored(label)) {
                loss = of = m.mass[i] = 0;
            } else if (index && !labels.valid(label)) {
                loss = NOT_A_NUMBER;
            } else if (index) {
                of              = labels.weight_of(label);
                const real hard = p.keep * of;
                loss +=
                    hard * ((m.peak[i] - x.data[chunk.offset + i * s.stride() + label * s.inner]) + m.sum[i]);
                m.mass[i] += hard;
            }
            if (reduction == EACH) y.data[at] = loss;
            peak.data[at] = m.peak[i], logsum.data[at] = m.sum[i], mass.data[at] = m.mass[i];
            total = {total.loss + loss, total.weight + of};
        }
        sums[number] = total;
    });
    finish(sums, chunks_of(s), reduction == EACH, reduction == MEAN ? BY_WEIGHT : 1, y.data, divisor.data);
}

// What each position's gradient is multiplied by; 0 where its label is ignored.
static void position_scales(const Chunk& chunk, In<real> g, In<real> divisor, i64 positions,
                            const Labels& labels, real* scale) {
    const bool each = g.ndim > 0 || positions == 1;
    for (i64 i = 0; i < chunk.count; ++i) {
        const i64 at = chunk.first + i;
        scale[i] = labels.index && !labels.valid(labels[at])
                       ? real(0)
                       : (each ? g.data[at] : g.data[0]) / divisor.data[0];
    }
}

void cross_entropy_backward(In<real> g, In<real> x, In<i64> index, In<real> probabilities, In<real> weight,
                            In<real> divisor, In<real> peak, In<real> logsum, In<real> mass, i64 ignore,
                            double smoothing, Out<real> dx) {
    const Classes s = classes_of(x);
    const Problem p{
        s, x.data, probabilities.data, weight.data, real(1 - smoothing), real(smoothing / s.classes)};
    const Labels  labels{index.data, weight.data, s.classes, ignore};
    for_chunks(s, [&](i64, const Chunk& chunk) {
        real scale[MOST_POSITIONS];
        position_scales(chunk, g, divisor, s.outer * s.inner, labels, scale);
        if (s.inner == 1) {
            for (i64 r = 0; r < chunk.count; ++r) {
                const i64  at = chunk.offset + r * s.classes, row = chunk.first + r;
                const real m = peak.data[row], log = logsum.data[row], a = mass.data[row];
                for_vectors(s.classes, [&](i64 c, auto lanes) {
                    V v = a * vexp((lanes.load(x.data + at + c) - m) - log);
                    if (p.dense()) v -= p.row_coefficient(at + c, c, lanes);
                    lanes.store(dx.data + at + c, v * scale[r]);
                });
            }
        } else {
            for_vectors(chunk.count, [&](i64 i, auto lanes) {
                const i64 row = chunk.first + i;
                const V m = lanes.load(peak.data + row), log = lanes.load(logsum.data + row),
                        a = lanes.load(mass.data + row);
                for (i64 c = 0; c < s.classes; ++c) {
                    const i64 at = chunk.offset + i + c * s.inner;
                    V v = a * vexp((lanes.load(x.data + at) - m) - log);
                    if (p.dense()) v -= p.column_coefficient(at, c, lanes);
                    lanes.store(dx.data + at, v * lanes.load(scale + i));
                }
            });
        }
        for (i64 i = 0; index && i < chunk.count; ++i)
            if (const i64 label = labels[chunk.first + i]; labels.valid(label))
                dx.data[chunk.offset + i * s.stride() + label * s.inner] -=
                    scale[i] * p.keep * labels.weight_of(label);
    });
}

// For probabilities: d loss / d t_c = (1 - smoothing) w_c (peak - x_c + logsum).
void cross_entropy_target_backward(In<real> g, In<real> x, In<real> weight, In<real> divisor, In<real> peak,
                                   In<real> logsum, double smoothing, Out<real> dt) {
    const Classes s    = classes_of(x);
    const real    keep = real(1 - smoothing);
    for_chunks(s, [&](i64, const Chunk& chunk) {
        real scale[MOST_POSITIONS];
        position_scales(chunk, g, divisor, s.outer * s.inner, Labels{nullptr, nullptr, s.classes, 0}, scale);
        if (s.inner == 1) {
            for (i64 r = 0; r < chunk.count; ++r) {
                const i64  at = chunk.offset + r * s.classes, row = chunk.first + r;
                const real m = peak.data[row], log = logsum.data[row], f = scale[r] * keep;
                for_vectors(s.classes, [&](i64 c, auto lanes) {
                    const V v = f * ((m - lanes.load(x.data + at + c)) + log);
                    lanes.store(dt.data + at + c, weight ? v * lanes.load(weight.data + c) : v);
                });
            }
        } else {
            for_vectors(chunk.count, [&](i64 i, auto lanes) {
                const V m = lanes.load(peak.data + chunk.first + i),
                        log = lanes.load(logsum.data + chunk.first + i);
                for (i64 c = 0; c < s.classes; ++c) {
                    const i64  at = chunk.offset + i + c * s.inner;
                    const real f  = keep * (weight ? weight.data[c] : real(1));
                    lanes.store(dt.data + at,
                                lanes.load(scale + i) * f * ((m - lanes.load(x.data + at)) + log));
                }
            });
        }
    });
}

void nll_loss(In<real> x, In<i64> index, In<real> weight, i64 ignore, i64 reduction, Out<real> y,
              Out<real> divisor) {
    const Classes s = classes_of(x);
    const Labels  labels{index.data, weight.data, s.classes, ignore};
    Scratch<Sums> sums(chunks_of(s));
    for_chunks(s, [&](i64 number, const Chunk& chunk) {
        Sums total{0, 0};
        for (i64 i = 0; i < chunk.count; ++i) {
            const i64 at = chunk.first + i, label = labels[at];
            real loss = 0, of = 0;
            if (labels.valid(label)) {
                of   = labels.weight_of(label);
                loss = -of * x.data[chunk.offset + i * s.stride() + label * s.inner];
            } else if (!labels.ignored(label)) {
                loss = NOT_A_NUMBER;
            }
            if (reduction == EACH) y.data[at] = loss;
            total = {total.loss + loss, total.weight + of};
        }
        sums[number] = total;
    });
    finish(sums, chunks_of(s), reduction == EACH, reduction == MEAN ? BY_WEIGHT : 1, y.data, divisor.data);
}

void nll_loss_backward(In<real> g, In<i64> index, In<real> weight, In<real> divisor, i64 ignore,
                       Out<real> dx) {
    const Classes s = classes_of(dx);
    const Labels  labels{index.data, weight.data, s.classes, ignore};
    for_chunks(s, [&](i64, const Chunk& chunk) {
        real scale[MOST_POSITIONS];
        position_scales(chunk, g, divisor, s.outer * s.inner, labels, scale);
        if (s.inner == 1)
            std::memset(dx.data + chunk.offset, 0, chunk.count * s.classes * sizeof(real));
        else
            for (i64 c = 0; c < s.classes; ++c)
                std::memset(dx.data + chunk.offset + c * s.inner, 0, chunk.count * sizeof(real));
        for (i64 i = 0; i < chunk.count; ++i)
            if (const i64 label = labels[chunk.first + i]; labels.valid(label))
                dx.data[chunk.offset + i * s.stride() + label * s.inner] =
                    -scale[i] * labels.weight_of(label);
    });
}

END_KERNELS
