// Rotary embedding: a thread turns a pair of features, or copies one that is not turned.
#include "index.cuh"

extern "C" __global__ void __launch_bounds__(256)
    rotary(const real* x, const real* cos, const real* sin, const __grid_constant__ Dims shape,
           const __grid_constant__ Dims strides, const __grid_constant__ Dims table, i64 rows, int features, int pairs,
           int interleaved, int back, real* y) {
    const int units = features - pairs;   // of a row
    for (GRID_STRIDE(i, rows * units)) {
        const i64 row = i / units;
        const int unit = (int)(i - row * units);
        i64 rest = row, from = 0, turn = 0;
        for (int a = shape.n - 1; a >= 0; --a) {
            const i64 at = rest % shape[a];
            rest /= shape[a];
            from += at * strides[a];
            turn += at * table[a];
        }
        const real* xr = x + from;
        real*       yr = y + row * features;
        if (unit >= pairs) {
            yr[unit + pairs] = xr[unit + pairs];
            continue;
        }
        const int first = interleaved ? 2 * unit : unit, second = interleaved ? first + 1 : unit + pairs;
        const acc a = value(xr[first]), b = value(xr[second]), c = value(cos[turn + unit]);
        const acc s = back ? -value(sin[turn + unit]) : value(sin[turn + unit]);
        yr[first] = rounded(a * c - b * s);
        yr[second] = rounded(b * c + a * s);
    }
}
