// Gradients of reductions: what each output's gradient g gives to the x that it was made from.
// Outputs lie along x with stride 0 where reduced; the innermost stride is 1 or 0. A thread takes a
// packet of neighbours, so that the index is taken apart once for several.
#include "index.cuh"

// a product without one factor is P / x, where P leaves zeros out; with a zero elsewhere it is 0
struct OfProd {
    static constexpr int N = 4;
    acc e;
    __device__ acc operator()(const acc* v) const {   // g, x, P, zeros
        const acc others = v[1] == 0 ? v[2] : v[2] / v[1];
        return v[3] == 0 || (v[3] == 1 && v[1] == 0) ? v[0] * others : acc(0);
    }
};
struct OfExtreme {   // equal shares among the x that equal the extreme
    static constexpr int N = 4;
    acc e;
    // g, x, y, count
    __device__ acc operator()(const acc* v) const { return v[1] == v[2] ? v[0] / v[3] : acc(0); }
};
struct OfVariance {
    static constexpr int N = 4;
    acc e;
    __device__ acc operator()(const acc* v) const { return v[0] * e * (v[1] - v[2]); }   // g, x, mean, y
};
struct OfDeviation {   // no slope where the deviation is 0
    static constexpr int N = 4;
    acc e;
    __device__ acc operator()(const acc* v) const {
        return (v[3] == 0 ? acc(0) : v[0] / (2 * v[3])) * e * (v[1] - v[2]);
    }
};
struct OfLogSumExp {
    static constexpr int N = 3;
    acc e;
    // g, x, y
    __device__ acc operator()(const acc* v) const {
        return v[0] * exp(v[1] - (fabs(v[2]) == infinity() ? acc(0) : v[2]));
    }
};
struct OfEuclideanNorm {
    static constexpr int N = 3;
    acc e;
    __device__ acc operator()(const acc* v) const { return v[2] == 0 ? acc(0) : v[0] * v[1] / v[2]; }
};
struct OfSumAbs {
    static constexpr int N = 3;
    acc e;
    __device__ acc operator()(const acc* v) const { return v[1] > 0 ? v[0] : v[1] < 0 ? -v[0] : v[0] * v[1]; }
};
struct OfPowerNorm {
    static constexpr int N = 3;
    acc e;
    __device__ acc operator()(const acc* v) const {
        if (v[2] == 0 || v[1] == 0) return 0;
        const acc slope = pow(fabs(v[1]) / v[2], e - 1);
        return v[0] * (v[1] > 0 ? slope : -slope);
    }
};

// Neighbours from p on; stride 0 repeats one value.
template <int W> __device__ __forceinline__ void load(const real* p, int stride, acc (&v)[W]) {
    if (W > 1 && stride && ((size_t)p & (sizeof(real) * W - 1)) == 0) {
        const Packet<real, W> packet = *(const Packet<real, W>*)p;
#pragma unroll
        for (int k = 0; k < W; ++k) v[k] = value(packet.v[k]);
    } else {
#pragma unroll
        for (int k = 0; k < W; ++k) v[k] = value(p[k * stride]);
    }
}

template <class F, int W>
__device__ __forceinline__ void spread(F f, const real* const* in, const Dims* const* strides,
                                       const Dims& shape, real* dx, i64 packets) {
    for (GRID_STRIDE(t, packets)) {
        i64 at[F::N] = {};
        int left = (int)t * W;
#pragma unroll 1
        for (int a = shape.n - 1; a >= 0; --a) {
            const int q = a ? left / shape[a] : 0, i = left - q * shape[a];
#pragma unroll
            for (int k = 0; k < F::N; ++k) at[k] += (i64)i * (*strides[k])[a];
            left = q;
        }
        acc v[F::N][W];
#pragma unroll
        for (int k = 0; k < F::N; ++k) load<W>(in[k] + at[k], (*strides[k])[shape.n - 1], v[k]);
        Packet<real, W> out;
#pragma unroll
        for (int w = 0; w < W; ++w) {
            acc one[F::N];
#pragma unroll
            for (int k = 0; k < F::N; ++k) one[k] = v[k][w];
            out.v[w] = rounded(f(one));
        }
        *(Packet<real, W>*)(dx + t * W) = out;
    }
}

template <class F>
__device__ __forceinline__ void spread3(F f, const real* g, const real* x, const real* y, const Dims& shape,
                                        const Dims& sg, const Dims& sx, const Dims& sy, real* dx, i64 packets,
                                        bool packed) {
    const real* in[3] = {g, x, y};
    const Dims* strides[3] = {&sg, &sx, &sy};   // pointers: a copy would lie in local memory
    packed ? spread<F, LANES>(f, in, strides, shape, dx, packets)
           : spread<F, 1>(f, in, strides, shape, dx, packets);
}
template <class F>
__device__ __forceinline__ void spread4(F f, const real* g, const real* x, const real* y, const real* z,
                                        const Dims& shape, const Dims& sg, const Dims& sx, const Dims& sy,
                                        const Dims& sz, real* dx, i64 packets, bool packed) {
    const real* in[4] = {g, x, y, z};
    const Dims* strides[4] = {&sg, &sx, &sy, &sz};
    packed ? spread<F, LANES>(f, in, strides, shape, dx, packets)
           : spread<F, 1>(f, in, strides, shape, dx, packets);
}

// Dims are grid constants: indexed by a variable, a copy would lie in local memory.
extern "C" {
__global__ void __launch_bounds__(256)
    spread_prod(const real* g, const real* x, const real* y, const real* z,
                const __grid_constant__ Dims shape, const __grid_constant__ Dims sg,
                const __grid_constant__ Dims sx, const __grid_constant__ Dims sy,
                const __grid_constant__ Dims sz, real* dx, i64 packets, int packed, acc e) {
    spread4(OfProd{e}, g, x, y, z, shape, sg, sx, sy, sz, dx, packets, packed);
}
__global__ void __launch_bounds__(256)
    spread_extreme(const real* g, const real* x, const real* y, const real* z,
                   const __grid_constant__ Dims shape, const __grid_constant__ Dims sg,
                   const __grid_constant__ Dims sx, const __grid_constant__ Dims sy,
                   const __grid_constant__ Dims sz, real* dx, i64 packets, int packed, acc e) {
    spread4(OfExtreme{e}, g, x, y, z, shape, sg, sx, sy, sz, dx, packets, packed);
}
__global__ void __launch_bounds__(256)
    spread_variance(const real* g, const real* x, const real* y, const real* z,
                    const __grid_constant__ Dims shape, const __grid_constant__ Dims sg,
                    const __grid_constant__ Dims sx, const __grid_constant__ Dims sy,
                    const __grid_constant__ Dims sz, real* dx, i64 packets, int packed, acc e) {
    spread4(OfVariance{e}, g, x, y, z, shape, sg, sx, sy, sz, dx, packets, packed);
}
__global__ void __launch_bounds__(256)
    spread_deviation(const real* g, const real* x, const real* y, const real* z,
                     const __grid_constant__ Dims shape, const __grid_constant__ Dims sg,
                     const __grid_constant__ Dims sx, const __grid_constant__ Dims sy,
                     const __grid_constant__ Dims sz, real* dx, i64 packets, int packed, acc e) {
    spread4(OfDeviation{e}, g, x, y, z, shape, sg, sx, sy, sz, dx, packets, packed);
}
__global__ void __launch_bounds__(256)
    spread_logsumexp(const real* g, const real* x, const real* y, const __grid_constant__ Dims shape,
                     const __grid_constant__ Dims sg, const __grid_constant__ Dims sx,
                     const __grid_constant__ Dims sy, real* dx, i64 packets, int packed, acc e) {
    spread3(OfLogSumExp{e}, g, x, y, shape, sg, sx, sy, dx, packets, packed);
}
__global__ void __launch_bounds__(256)
    spread_norm_2(const real* g, const real* x, const real* y, const __grid_constant__ Dims shape,
                  const __grid_constant__ Dims sg, const __grid_constant__ Dims sx,
                  const __grid_constant__ Dims sy, real* dx, i64 packets, int packed, acc e) {
    spread3(OfEuclideanNorm{e}, g, x, y, shape, sg, sx, sy, dx, packets, packed);
}
__global__ void __launch_bounds__(256)
    spread_norm_1(const real* g, const real* x, const real* y, const __grid_constant__ Dims shape,
                  const __grid_constant__ Dims sg, const __grid_constant__ Dims sx,
                  const __grid_constant__ Dims sy, real* dx, i64 packets, int packed, acc e) {
    spread3(OfSumAbs{e}, g, x, y, shape, sg, sx, sy, dx, packets, packed);
}
__global__ void __launch_bounds__(256)
    spread_norm_p(const real* g, const real* x, const real* y, const __grid_constant__ Dims shape,
                  const __grid_constant__ Dims sg, const __grid_constant__ Dims sx,
                  const __grid_constant__ Dims sy, real* dx, i64 packets, int packed, acc e) {
    spread3(OfPowerNorm{e}, g, x, y, shape, sg, sx, sy, dx, packets, packed);
}
// A variance about a mean that is off by `off`, of which off^2 is too much. e: the number of
// values, by what the squares' sum was divided by.
__global__ void __launch_bounds__(256) settle_variance(const real* off, real* y, int outputs, acc e) {
    for (GRID_STRIDE(o, outputs)) {
        const acc right = value(y[o]) - value(off[o]) * value(off[o]) * e;
        y[o] = rounded(right < 0 ? acc(0) : right);
    }
}
}
