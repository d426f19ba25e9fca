// pad: a thread finds where its unit of the result comes from, axis by axis, and copies that or
// the constant. A unit is a value, or 16 bytes where the host sees that no such unit of the last
// axis crosses an edge.
// pad_backward gathers: a value of dx sums the places of dy that it was copied to, along each axis
// in the same order, so that the sum is the same at every run. There are at most three such places
// an axis (itself, and one beyond each edge) except for a replicated edge, which went to a run of
// places. The host hands it four axes, of which the first is not padded.
#include "elementwise/broadcast.cuh"

enum Mode { CONSTANT, REFLECT, REPLICATE, CIRCULAR };   // as ops/pad.py numbers them

// Input behind output o of an axis of n inputs, the first of which is output `before`; -1: the constant
__device__ __forceinline__ int source(int mode, int o, int before, int n) {
    const int i = o - before;
    if (i >= 0 && i < n) return i;
    if (mode == CONSTANT) return -1;
    if (mode == REFLECT) return i < 0 ? -i : 2 * (n - 1) - i;
    if (mode == REPLICATE) return i < 0 ? 0 : n - 1;
    return i < 0 ? i + n : i - n;
}

// `in`, `out` and `before` count the last axis in units of W.
template <int W>
__device__ __forceinline__ void pad_units(const real* x, const Dims& in, const Dims& out, const Dims& magic,
                                          const Dims& before, int mode, acc constant, int units, real* y) {
    const bool packed = W > 1 && aligned(x) && aligned(y);
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned unit = blockIdx.x * blockDim.x + threadIdx.x; unit < units; unit += threads) {
        unsigned rest = unit;
        i64 from = 0, step = 1;
        for (int axis = out.n - 1; axis >= 0; --axis) {
            const unsigned outer = axis ? quotient(rest, out[axis], magic[axis]) : 0;
            const int i = source(mode, rest - outer * out[axis], before[axis], in[axis]);
            from = i < 0 || from < 0 ? -1 : from + i * step;
            step *= in[axis];
            rest = outer;
        }
        acc v[W];
        if (from < 0) {
#pragma unroll
            for (int l = 0; l < W; ++l) v[l] = constant;
        } else {
            load_unit(x + from * W, true, packed, W, v);
        }
        store_unit(y + (i64)unit * W, packed, W, v);
    }
}

// Outputs that input i of an axis was copied to: `count` of them, the k-th is at(k).
struct Copies {
    int first, count, left, right;
    // REPLICATE: a run of outputs. Else itself and what edges mirror or wrap to `left` and `right`;
    // -1 where there is none.
    __device__ __forceinline__ Copies(int mode, int i, int before, int n, int out)
        : first(before + i), count(3), left(-1), right(-1) {
        if (mode == REPLICATE) {
            const int end = i == n - 1 ? out : min(out, before + i + 1);
            first = i == 0 ? 0 : max(0, before + i);
            count = max(0, end - first);
        } else if (mode == REFLECT) {
            if (i > 0) left = before - i;
            if (i < n - 1) right = before + 2 * (n - 1) - i;
        } else if (mode == CIRCULAR) {
            left = before + i - n;
            right = before + i + n;
        }
        if (mode != REPLICATE) {
            first = first < out ? first : -1;
            left = left < out ? left : -1;
            right = right < out ? right : -1;
        }
    }
    __device__ __forceinline__ int at(bool run, int k) const {
        return run ? first + k : k == 0 ? first : k == 1 ? left : right;
    }
};

extern "C" {
__global__ void __launch_bounds__(256)
    pad_packs(const real* x, const __grid_constant__ Dims in, const __grid_constant__ Dims out,
              const __grid_constant__ Dims magic, const __grid_constant__ Dims before, int mode, acc constant,
              int units, real* y) {
    pad_units<LANES>(x, in, out, magic, before, mode, constant, units, y);
}
__global__ void __launch_bounds__(256)
    pad_values(const real* x, const __grid_constant__ Dims in, const __grid_constant__ Dims out,
               const __grid_constant__ Dims magic, const __grid_constant__ Dims before, int mode,
               acc constant, int units, real* y) {
    pad_units<1>(x, in, out, magic, before, mode, constant, units, y);
}

// in: the sizes of dx, which magic divides by; out: those of dy
__global__ void __launch_bounds__(256)
    pad_backward(const real* dy, const __grid_constant__ Dims in, const __grid_constant__ Dims out,
                 const __grid_constant__ Dims magic, const __grid_constant__ Dims before, int mode, int total,
                 real* dx) {
    const bool run = mode == REPLICATE;
    for (GRID_STRIDE(unit, total)) {
        const unsigned p = quotient((unsigned)unit, in[3], magic[3]), q = quotient(p, in[2], magic[2]),
                       plane = quotient(q, in[1], magic[1]);
        const Copies deep(mode, q - plane * in[1], before[1], in[1], out[1]),
            down(mode, p - q * in[2], before[2], in[2], out[2]),
            across(mode, (unsigned)unit - p * in[3], before[3], in[3], out[3]);
        acc sum = 0;
        for (int a = 0; a < deep.count; ++a) {
            const int od = deep.at(run, a);
            if (od < 0) continue;
            for (int b = 0; b < down.count; ++b) {
                const int oh = down.at(run, b);
                if (oh < 0) continue;
                const real* row = dy + (((i64)plane * out[1] + od) * out[2] + oh) * out[3];
                for (int c = 0; c < across.count; ++c) {
                    const int ow = across.at(run, c);
                    if (ow >= 0) sum += value(row[ow]);
                }
            }
        }
        dx[unit] = rounded(sum);
    }
}
}
