// How much boxes overlap, every one of a (s, n, 4) with every one of b (s, m, 4), and the gradients: formulas
// as in reference.py (kind 0 intersection over union, 1 generalized, 2 distance, 3 complete). e, f and d are
// added to divisors; a quotient by 0 is 0. A gradient is gathered: a thread has a box, and adds up all pairs
// that it is in, in their order.
#include "index.cuh"

constexpr acc OF_ASPECT = acc(0.4052847345693511);   // 4 / pi^2

__device__ __forceinline__ acc quotient(acc a, acc b) { return b != 0 ? a / b : acc(0); }
__device__ __forceinline__ acc square(acc a) { return a * a; }
__device__ __forceinline__ acc half_step(acc a) { return a > 0 ? acc(1) : a < 0 ? acc(0) : acc(0.5); }

struct Box {
    acc low[2], high[2];
    __device__ __forceinline__ explicit Box(const real* p)
        : low{value(p[0]), value(p[1])}, high{value(p[2]), value(p[3])} {}
    __device__ __forceinline__ acc side(int i) const { return high[i] - low[i]; }
    __device__ __forceinline__ acc aspect() const {   // the angle whose tangent is width / height
        return side(0) == 0 && side(1) == 0 ? acc(0) : atan(side(0) / side(1));
    }
};

struct Pair {
    acc sides[2], around[2], apart[2];   // of what they share, of the box around both; of their centres
    acc shared, all;
    bool touch;
    __device__ __forceinline__ Pair(const Box& a, const Box& b) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            sides[i] = smaller(a.high[i], b.high[i]) - larger(a.low[i], b.low[i]);
            around[i] = larger(a.high[i], b.high[i]) - smaller(a.low[i], b.low[i]);
            apart[i] = (a.low[i] + a.high[i] - b.low[i] - b.high[i]) / 2;
        }
        touch = sides[0] > 0 && sides[1] > 0;
        shared = sides[0] <= 0 || sides[1] <= 0 ? acc(0) : sides[0] * sides[1];
        all = a.side(0) * a.side(1) + b.side(0) * b.side(1) - shared;
    }
    __device__ __forceinline__ acc far() const { return square(apart[0]) + square(apart[1]); }
    __device__ __forceinline__ acc wide() const { return square(around[0]) + square(around[1]); }
};

struct Kind {
    int kind;
    acc e, f, d;
    __device__ __forceinline__ acc overlap(const Box& a, const Box& b) const {
        const Pair p(a, b);
        const acc iou = quotient(p.shared, p.all + e);
        if (kind == 0) return iou;
        if (kind == 1) {
            const acc area = p.around[0] * p.around[1];
            return iou - quotient(area - p.all, area + f);
        }
        const acc found = iou - quotient(p.far(), p.wide() + f);
        if (kind == 2) return found;
        const acc v = OF_ASPECT * square(a.aspect() - b.aspect());
        return found - quotient(v, 1 - iou + v + d) * v;
    }

    // sum += g times the slopes along a's x1, y1, x2, y2
    __device__ __forceinline__ void slopes(acc g, const Box& a, const Box& b, acc (&sum)[4]) const {
        if (g == 0) return;
        const Pair p(a, b);
        const acc share = quotient(1, p.all + e), iou = quotient(p.shared, p.all + e);
        acc by_shared = p.touch ? share * (1 + iou) : acc(0), by_area = -iou * share;
        acc by_around[2] = {}, by_centre[2] = {}, by_size[2] = {};
        if (kind == 1) {
            const acc over = quotient(1, p.around[0] * p.around[1] + f);
            if (p.touch) by_shared -= over;
            by_area += over;
            const acc of = -(p.all + f) * square(over);
            by_around[0] = of * p.around[1];
            by_around[1] = of * p.around[0];
        } else if (kind >= 2) {
            const acc over = quotient(1, p.wide() + f), of = 2 * p.far() * square(over);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                by_around[i] = of * p.around[i];
                by_centre[i] = -p.apart[i] * over;
            }
        }
        if (kind == 3) {
            const acc turn = a.aspect() - b.aspect(), v = OF_ASPECT * square(turn);
            const acc slope = -2 * OF_ASPECT * quotient(v, 1 - iou + v + d) * turn *
                              quotient(1, square(a.side(0)) + square(a.side(1)));
            by_size[0] = slope * a.side(1);
            by_size[1] = -slope * a.side(0);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const acc inside = p.touch ? by_shared * p.sides[1 - i] : acc(0), length = by_area * a.side(1 - i);
            const acc low = half_step(a.low[i] - b.low[i]), high = half_step(b.high[i] - a.high[i]);
            sum[i] += g * (-inside * low - by_around[i] * (1 - low) - length + by_centre[i] - by_size[i]);
            sum[2 + i] += g * (inside * high + by_around[i] * (1 - high) + length + by_centre[i] + by_size[i]);
        }
    }
};

extern "C" {
__global__ void __launch_bounds__(256, 2)
    box_overlap(const real* a, const real* b, int n, int m, int kind, acc e, acc f, acc d, real* y, i64 values) {
    const Kind of{kind, e, f, d};
    for (GRID_STRIDE(t, values)) {
        const i64 row = t / m, sample = row / n;
        y[t] = rounded(of.overlap(Box(a + row * 4), Box(b + (sample * m + (t - row * m)) * 4)));
    }
}

// turned: g is (s, m, n)
__global__ void __launch_bounds__(256, 2)
    box_overlap_backward(const real* g, const real* a, const real* b, int n, int m, int kind, acc e, acc f, acc d,
                         int turned, real* da, i64 boxes) {
    const Kind of{kind, e, f, d};
    for (GRID_STRIDE(t, boxes)) {
        const i64 sample = t / n;
        const int i = (int)(t - sample * n);
        const Box own(a + t * 4);
        acc sum[4] = {};
        for (int j = 0; j < m; ++j)
            of.slopes(value(g[turned ? (sample * m + j) * n + i : t * m + j]), own, Box(b + (sample * m + j) * 4), sum);
#pragma unroll
        for (int k = 0; k < 4; ++k) da[t * 4 + k] = rounded(sum[k]);
    }
}
}
