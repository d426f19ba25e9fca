// One optimiser step on one parameter in one pass over memory: kernels/optim/reference.py gives the
// rules. A thread takes 16 bytes of each array at a time, changes them and puts them back. Settings
// are tested inside: each test goes the same way in all threads, and they wait for memory. An array
// that a setting does not use is neither read nor written; the host passes none for it.
#include "elementwise/map.cuh"

template <int W> struct Place {
    i64 at;
    __device__ __forceinline__ void load(const real* p, acc (&v)[W]) const {
        const Packet<real, W> pack = ((const Packet<real, W>*)p)[at];
#pragma unroll
        for (int l = 0; l < W; ++l) v[l] = value(pack.v[l]);
    }
    __device__ __forceinline__ void store(real* p, const acc (&v)[W]) const {
        Packet<real, W> pack;
#pragma unroll
        for (int l = 0; l < W; ++l) pack.v[l] = rounded(v[l]);
        ((Packet<real, W>*)p)[at] = pack;
    }
};

// Calls rule.step on the whole packs if all arrays are aligned, then on values.
template <class Rule> __device__ __forceinline__ void update(const Rule& rule, bool packed, i64 n) {
    const i64 packs = packed ? n / LANES : 0;
    for (GRID_STRIDE(i, packs)) rule.step(Place<LANES>{i});
    for (GRID_STRIDE(i, n - packs * LANES)) rule.step(Place<1>{packs * LANES + i});
}

// The gradient with its sign and weight decay
struct Direction {
    const real *g, *p;
    acc decay;
    bool maximize;
    template <int W>
    __device__ __forceinline__ void load(const Place<W>& place, acc (&d)[W], acc (&parameter)[W]) const {
        place.load(g, d);
        place.load(p, parameter);
#pragma unroll
        for (int l = 0; l < W; ++l) {
            if (maximize) d[l] = -d[l];
            if (decay != 0) d[l] += decay * parameter[l];   // 0 * inf would be NaN
        }
    }
};

struct Sgd {
    Direction direction;
    real *p, *buffer;
    acc rate, keep, take;
    bool nesterov, first;
    template <int W> __device__ __forceinline__ void step(const Place<W>& place) const {
        acc d[W], v[W];
        direction.load(place, d, v);
        if (buffer) {
            acc b[W];
            if (!first) place.load(buffer, b);
#pragma unroll
            for (int l = 0; l < W; ++l) {
                b[l] = first ? d[l] : keep * b[l] + take * d[l];
                d[l] = nesterov ? d[l] + keep * b[l] : b[l];
            }
            place.store(buffer, b);
        }
#pragma unroll
        for (int l = 0; l < W; ++l) v[l] -= rate * d[l];
        place.store(p, v);
    }
};

struct Adam {
    Direction direction;
    real *p, *mean, *square, *largest;
    acc rate, take1, keep2, take2, per_root, eps, shrink;
    template <int W> __device__ __forceinline__ void step(const Place<W>& place) const {
        acc d[W], v[W], m[W], s[W];
        direction.load(place, d, v);
        place.load(mean, m);
        place.load(square, s);
#pragma unroll
        for (int l = 0; l < W; ++l) {
            m[l] += take1 * (d[l] - m[l]);
            s[l] = keep2 * s[l] + take2 * (d[l] * d[l]);
        }
        place.store(mean, m);
        place.store(square, s);
        if (largest) {
            acc peak[W];
            place.load(largest, peak);
#pragma unroll
            for (int l = 0; l < W; ++l) s[l] = larger(s[l], peak[l]);
            place.store(largest, s);
        }
#pragma unroll
        for (int l = 0; l < W; ++l) v[l] = v[l] * shrink - rate * (m[l] / (sqrt(s[l]) * per_root + eps));
        place.store(p, v);
    }
};

struct Rmsprop {
    Direction direction;
    real *p, *square, *mean, *buffer;
    acc rate, keep, take, eps, push;
    template <int W> __device__ __forceinline__ void step(const Place<W>& place) const {
        acc d[W], v[W], s[W];
        direction.load(place, d, v);
        place.load(square, s);
#pragma unroll
        for (int l = 0; l < W; ++l) s[l] = keep * s[l] + take * (d[l] * d[l]);
        place.store(square, s);
        if (mean) {
            acc m[W];
            place.load(mean, m);
#pragma unroll
            for (int l = 0; l < W; ++l) {
                m[l] += take * (d[l] - m[l]);
                s[l] -= m[l] * m[l];
            }
            place.store(mean, m);
        }
#pragma unroll
        for (int l = 0; l < W; ++l) d[l] /= sqrt(s[l]) + eps;
        if (buffer) {
            acc b[W];
            place.load(buffer, b);
#pragma unroll
            for (int l = 0; l < W; ++l) d[l] += push * b[l];
            place.store(buffer, d);
        }
#pragma unroll
        for (int l = 0; l < W; ++l) v[l] -= rate * d[l];
        place.store(p, v);
    }
};

extern "C" {
__global__ void __launch_bounds__(256)
    sgd_step(const real* g, real* p, real* buffer, acc rate, acc keep, acc take, acc decay, int nesterov,
             int first, int maximize, i64 n) {
    update(Sgd{{g, p, decay, maximize != 0}, p, buffer, rate, keep, take, nesterov != 0, first != 0},
           aligned(g) && aligned(p) && aligned(buffer), n);
}
__global__ void __launch_bounds__(256)
    adam_step(const real* g, real* p, real* mean, real* square, real* largest, acc rate, acc take1, acc keep2,
              acc take2, acc per_root, acc eps, acc decay, acc shrink, int maximize, i64 n) {
    update(Adam{{g, p, decay, maximize != 0},
                p,
                mean,
                square,
                largest,
                rate,
                take1,
                keep2,
                take2,
                per_root,
                eps,
                shrink},
           aligned(g) && aligned(p) && aligned(mean) && aligned(square) && aligned(largest), n);
}
__global__ void __launch_bounds__(256, 4)
    rmsprop_step(const real* g, real* p, real* square, real* mean, real* buffer, acc rate, acc keep, acc take,
                 acc eps, acc decay, acc push, int maximize, i64 n) {
    update(Rmsprop{{g, p, decay, maximize != 0}, p, square, mean, buffer, rate, keep, take, eps, push},
           aligned(g) && aligned(p) && aligned(square) && aligned(mean) && aligned(buffer), n);
}
}
