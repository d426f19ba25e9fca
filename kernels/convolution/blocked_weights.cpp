// What is done to a model's weights before they are packed. They are read where they lie in its file, in order
// but not aligned: as bytes.
#include "program_kernel.h"

BEGIN_KERNELS
namespace {
constexpr i64 NUMBERS = 32;   // sums side by side, the same on every set, so that all sets add in one order

// Of `count` numbers, the sum of squares and the largest one: in double, where both are exact products. The sum
// is not finite if some number is not.
void row_squares(const std::uint8_t* from, i64 count, double* found) {
    double sum[NUMBERS] = {};
    real peak[NUMBERS] = {};
    const auto add = [&](const real (&v)[NUMBERS]) {
        for (i64 i = 0; i < NUMBERS; ++i) {
            const double d = v[i];
            sum[i] += d * d;
        }
        for (i64 i = 0; i < NUMBERS; ++i) {
            const real size = v[i] < 0 ? -v[i] : v[i];
            peak[i] = peak[i] > size ? peak[i] : size;
        }
    };
    real v[NUMBERS];
    i64 at = 0;
    for (; at + NUMBERS <= count; at += NUMBERS) {
        std::memcpy(v, from + at * sizeof(real), sizeof v);
        add(v);
    }
    if (at < count) {
        std::memset(v, 0, sizeof v);
        std::memcpy(v, from + at * sizeof(real), (count - at) * sizeof(real));
        add(v);
    }
    #pragma GCC unroll 8
    for (i64 half = NUMBERS / 2; half; half /= 2)
        for (i64 i = 0; i < half; ++i) {
            sum[i] += sum[i + half];
            peak[i] = peak[i] > peak[i + half] ? peak[i] : peak[i + half];
        }
    const double most = peak[0];
    found[0] = sum[0], found[1] = most * most;
}
}  // namespace

void weight_squares(In<std::uint8_t> weight, Out<double> y) {
    const i64 rows = y.dim(0), count = rows ? weight.dim(0) / (i64)sizeof(real) / rows : 0;
    parallel_for(rows, 1 + 65536 / (count + 1), [&](i64 begin, i64 end) {
        for (i64 row = begin; row < end; ++row)
            row_squares(weight.data + row * count * sizeof(real), count, y.data + 2 * row);
    });
}

namespace {
// Numbers from `first` on, each times its factor.
void scale_row(const std::uint8_t* weight, const double* factors, i64 n, i64 first, std::uint8_t* y) {
    real v[NUMBERS];
    for (i64 at = 0; at < n; at += NUMBERS) {
        const i64 count = n - at < NUMBERS ? n - at : NUMBERS;
        std::memcpy(v, weight + (first + at) * sizeof(real), count * sizeof(real));
        #pragma GCC unroll 1
        for (i64 i = 0; i < count; ++i) v[i] = (real)(v[i] * factors[at + i]);
        std::memcpy(y + (first + at) * sizeof(real), v, count * sizeof(real));
    }
}
}  // namespace

// Taps of a filter lie side by side, its channels far apart: some filters at a time, a channel after the other.
void parity_squares(In<std::uint8_t> weight, Out<double> y) {
    constexpr i64 TAPS = 16, FILTERS = 16;
    const i64 filters = y.dim(0), channels = filters ? weight.dim(0) / (i64)sizeof(real) / TAPS / filters : 0;
    parallel_for((filters + FILTERS - 1) / FILTERS, 1 + 4096 / (channels + 1), [&](i64 begin, i64 end) {
        for (i64 k = begin * FILTERS; k < end * FILTERS && k < filters; k += FILTERS) {
            const i64 count = filters - k < FILTERS ? filters - k : FILTERS;
            double sum[FILTERS * TAPS] = {};
            real peak[FILTERS * TAPS] = {}, v[FILTERS * TAPS];
            for (i64 c = 0; c < channels; ++c) {
                std::memcpy(v, weight.data + (c * filters + k) * TAPS * sizeof(real), count * TAPS * sizeof(real));
                #pragma GCC unroll 1
                for (i64 i = 0; i < count * TAPS; ++i) {
                    const double d = v[i];
                    sum[i] += d * d;
                    const real size = v[i] < 0 ? -v[i] : v[i];
                    peak[i] = peak[i] > size ? peak[i] : size;
                }
            }
            for (i64 i = 0; i < count; ++i)
                for (i64 part = 0; part < 4; ++part) {
                    double all = 0, most = 0;
                    #pragma GCC unroll 1
                    for (i64 s = 0; s < 4; ++s) {
                        const i64 t = i * TAPS + (2 * (s / 2) + part / 2) * 4 + 2 * (s % 2) + part % 2;
                        all += sum[t], most = most > peak[t] ? most : peak[t];
                    }
                    double* const found = y.data + ((k + i) * 4 + part) * 2;
                    found[0] = all, found[1] = most * most;
                }
        }
    });
}

void scale_weights(In<std::uint8_t> weight, In<double> factors, i64 inner, Out<std::uint8_t> y) {
    const i64 n = factors.dim(0), rows = weight.dim(0) / (i64)sizeof(real) / inner;
    if (inner == 1) {
        parallel_for(rows / n, 1 + 65536 / n, [&](i64 begin, i64 end) {
            for (i64 row = begin; row < end; ++row) scale_row(weight.data, factors.data, n, row * n, y.data);
        });
        return;
    }
    parallel_for(rows, 1 + 65536 / inner, [&](i64 begin, i64 end) {
        real v[NUMBERS];
        for (i64 row = begin; row < end; ++row) {
            const double by = factors.data[row % n];
            const std::uint8_t* const from = weight.data + row * inner * sizeof(real);
            std::uint8_t* const to = y.data + row * inner * sizeof(real);
            i64 at = 0;
            for (; at + NUMBERS <= inner; at += NUMBERS) {
                std::memcpy(v, from + at * sizeof(real), sizeof v);
                for (i64 i = 0; i < NUMBERS; ++i) v[i] = (real)(v[i] * by);
                std::memcpy(to + at * sizeof(real), v, sizeof v);
            }
            for (; at < inner; ++at) {
                std::memcpy(v, from + at * sizeof(real), sizeof *v);
                v[0] = (real)(v[0] * by);
                std::memcpy(to + at * sizeof(real), v, sizeof *v);
            }
        }
    });
}
END_KERNELS
