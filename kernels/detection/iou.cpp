// How much of what two boxes are together they share, and three forms of it that tell boxes apart that
// share nothing. With s the area that a and b share, u = |a| + |b| - s, the box around both of area c,
// sides cw and ch, p the squared distance of the centres and q = cw^2 + ch^2:
//
//     iou   s / (u + e)
//     giou  iou - (c - u) / (c + f)              Rezatofighi et al. (2019)
//     diou  iou - p / (q + f)                    Zheng et al. (2020)
//     ciou  diou - alpha v, v = 4 / pi^2 (atan(w_a / h_a) - atan(w_b / h_b))^2,
//           alpha = v / (1 - iou + v + d), a constant to the gradient
//
// a quotient of which the divisor is 0 being 0. Boxes are laid out a coordinate after the other first;
// vectors run over the boxes of b, or where each box has one partner over pairs. The gradient to b is
// that to a of the sides exchanged, so both are sums over partners in their order.
#include "overlap.h"

BEGIN_KERNELS
namespace {
constexpr i64 IOU = 0, GIOU = 1, DIOU = 2, CIOU = 3;
constexpr real ASPECT = real(4 / (M_PI * M_PI));

// A vector of boxes, or one in all lanes.
struct Boxes {
    V x1, y1, x2, y2, area, aspect;
    V width() const { return x2 - x1; }
    V height() const { return y2 - y1; }
};

// Boxes (n, 4), a coordinate after the other.
class Columns {
    i64 n;
    Scratch<real> values;

public:
    Columns(In<real> boxes, bool aspects) : n(boxes.size() / 4), values(6 * n) {
        parallel_for(n, aspects ? 256 : 4096, [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i) {
                const real* v = boxes.data + 4 * i;
                const real w = v[2] - v[0], h = v[3] - v[1];
                for (int k = 0; k < 4; ++k) values[k * n + i] = v[k];
                values[4 * n + i] = w * h;
                values[5 * n + i] = !aspects || (w == 0 && h == 0) ? 0 : std::atan(w / h);
            }
        });
    }
    template <class Lanes> Boxes at(i64 i, Lanes lanes) const {
        const real* p = values + i;
        return {lanes.load(p), lanes.load(p + n), lanes.load(p + 2 * n),
                lanes.load(p + 3 * n), lanes.load(p + 4 * n), lanes.load(p + 5 * n)};
    }
    Boxes one(i64 i) const {
        const real* p = values + i;
        return {splat(p[0]), splat(p[n]), splat(p[2 * n]), splat(p[3 * n]), splat(p[4 * n]), splat(p[5 * n])};
    }
};

V quotient(V a, V b) { return b == 0 ? V{} : a / b; }

struct Pairs {
    i64 kind;
    real e, f, d;
    V w, h, shared, all, iou, around_w, around_h, dx, dy, far, wide, turn, alpha;
    M touch;

    Pairs(const Boxes& a, const Boxes& b, i64 kind, real e, real f, real d)
        : kind(kind), e(e), f(f), d(d) {
        w = vmin(a.x2, b.x2) - vmax(a.x1, b.x1), h = vmin(a.y2, b.y2) - vmax(a.y1, b.y1);
        touch = (w > 0) & (h > 0);
        shared = touch ? rounded(w * h) : V{}, all = a.area + b.area - shared;
        iou = quotient(shared, all + e);
        if (kind == IOU) return;
        around_w = vmax(a.x2, b.x2) - vmin(a.x1, b.x1), around_h = vmax(a.y2, b.y2) - vmin(a.y1, b.y1);
        if (kind == GIOU) return;
        dx = (a.x1 + a.x2 - b.x1 - b.x2) / 2, dy = (a.y1 + a.y2 - b.y1 - b.y2) / 2;
        far = dx * dx + dy * dy, wide = around_w * around_w + around_h * around_h + f;
        if (kind == DIOU) return;
        turn = a.aspect - b.aspect;
        const V v = ASPECT * turn * turn;
        alpha = quotient(v, 1 - iou + v + d);
    }
    V value() const {
        if (kind == IOU) return iou;
        if (kind == GIOU) return iou - quotient(around_w * around_h - all, around_w * around_h + f);
        const V apart = iou - quotient(far, wide);
        return kind == DIOU ? apart : apart - alpha * ASPECT * turn * turn;
    }
    // g times the slopes along a's x1, y1, x2, y2. Of two equal ends each is the greater one by half.
    void slopes(const Boxes& a, const Boxes& b, V g, V (&to)[4]) const {
        const V share = quotient(splat(1), all + e);
        V by_shared = touch ? share * (1 + iou) : V{}, by_area = -iou * share, by_w{}, by_h{}, by_dx{}, by_dy{};
        if (kind == GIOU) {
            const V around = quotient(splat(1), around_w * around_h + f), slope = (all + f) * around * around;
            by_shared -= touch ? around : V{}, by_area += around;
            by_w = -slope * around_h, by_h = -slope * around_w;
        }
        if (kind >= DIOU) {
            const V share_of = quotient(splat(1), wide), slope = 2 * far * share_of * share_of;
            by_w = slope * around_w, by_h = slope * around_h;
            by_dx = -dx * share_of, by_dy = -dy * share_of;   // the centre moves half as far as an end
        }
        axis(a.x1, a.x2, b.x1, b.x2, by_shared * h, by_w, by_area * a.height(), by_dx, to[0], to[2]);
        axis(a.y1, a.y2, b.y1, b.y2, by_shared * w, by_h, by_area * a.width(), by_dy, to[1], to[3]);
        if (kind == CIOU) {
            const V slope = -2 * ASPECT * alpha * turn *
                            quotient(splat(1), a.width() * a.width() + a.height() * a.height());
            const V by_width = slope * a.height(), by_height = -slope * a.width();
            to[0] -= by_width, to[2] += by_width, to[1] -= by_height, to[3] += by_height;
        }
        for (V& v : to) v = g == 0 ? V{} : v * g;
    }

private:
    static V by_half(M more, M equal) { return more ? splat(1) : equal ? splat(real(0.5))
                                                                       : V{}; }
    static void axis(V low, V high, V other_low, V other_high, V by_inside, V by_around, V by_length, V by_centre,
                     V& to_low, V& to_high) {
        const V inside_low = by_half(low > other_low, low == other_low),
                inside_high = by_half(high < other_high, high == other_high);
        to_low = -by_inside * inside_low - by_around * (1 - inside_low) - by_length + by_centre;
        to_high = by_inside * inside_high + by_around * (1 - inside_high) + by_length + by_centre;
    }
};

constexpr i64 GRAIN = 1 << 12;   // pairs
}  // namespace

void box_overlap(In<real> a, In<real> b, i64 kind, double e, double f, double d, Out<real> y) {
    const i64 n = a.dim(1), m = b.dim(1);
    const Columns first(a, kind == CIOU), second(b, kind == CIOU);
    if (n == 1 && m == 1) {
        const i64 pairs = a.dim(0), parts = (pairs + LANES - 1) / LANES;
        parallel_for(parts, GRAIN / LANES, [&](i64 begin, i64 end) {
            const i64 from = begin * LANES, count = std::min(end * LANES, pairs) - from;
            for_vectors(count, [&](i64 i, auto lanes) {
                const Boxes one = first.at(from + i, lanes), other = second.at(from + i, lanes);
                lanes.store(y.data + from + i, Pairs(one, other, kind, real(e), real(f), real(d)).value());
            });
        });
        return;
    }
    parallel_for(a.dim(0) * n, 1 + GRAIN / (m + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            const Boxes one = first.one(row);
            for_vectors(m, [&](i64 j, auto lanes) {
                const Boxes others = second.at(row / n * m + j, lanes);
                lanes.store(y.data + row * m + j, Pairs(one, others, kind, real(e), real(f), real(d)).value());
            });
        }
    });
}

void box_overlap_backward(In<real> g, In<real> a, In<real> b, i64 kind, double e, double f, double d, bool turned,
                          Out<real> da) {
    const i64 n = a.dim(1), m = b.dim(1);
    const Columns first(a, kind == CIOU), second(b, kind == CIOU);
    if (n == 1 && m == 1) {
        const i64 pairs = a.dim(0), parts = (pairs + LANES - 1) / LANES;
        parallel_for(parts, GRAIN / LANES, [&](i64 begin, i64 end) {
            const i64 from = begin * LANES, count = std::min(end * LANES, pairs) - from;
            for_vectors(count, [&](i64 i, auto lanes) {
                const Boxes one = first.at(from + i, lanes), other = second.at(from + i, lanes);
                V slopes[4];
                const V own = lanes.load(g.data + from + i);
                Pairs(one, other, kind, real(e), real(f), real(d)).slopes(one, other, own, slopes);
                for (int k = 0; k < 4; ++k)
                    for (int lane = 0; lane < lanes.count; ++lane)
                        da.data[(from + i + lane) * 4 + k] = slopes[k][lane];
            });
        });
        return;
    }
    parallel_for(a.dim(0) * n, 1 + GRAIN / (m + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row) {
            const Boxes one = first.one(row);
            const i64 sample = row / n;
            V sums[4] = {};
            for_vectors(m, [&](i64 j, auto lanes) {
                const Boxes others = second.at(sample * m + j, lanes);
                const V own = turned
                                  ? load_strided(g.data + (sample * m + j) * n + row % n, n, lanes.count)
                                  : lanes.load(g.data + row * m + j);
                V slopes[4];
                Pairs(one, others, kind, real(e), real(f), real(d)).slopes(one, others, own, slopes);
                for (int k = 0; k < 4; ++k) sums[k] += lanes.keep(slopes[k]);
            });
            for (int k = 0; k < 4; ++k) da.data[row * 4 + k] = hsum(sums[k]);
        }
    });
}
END_KERNELS
