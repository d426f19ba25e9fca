// embedding: y[p] = weight[index[p]], and its gradient dweight[r] = sum of g[p] where index[p] = r.
// In the gradient a thread owns a range of rows and walks all indices in order, adding those of its
// range: no two threads add to one row, and a row's order of accumulation is that of the positions
// for any thread count. The walk costs a comparison an index, the additions a row's length.
#include <algorithm>
#include "indices.h"
#include "kernel.h"

BEGIN_KERNELS

constexpr i64 FETCHED = 1024;   // values of a row that are fetched ahead

// bad becomes the position of the first index that is no row, or -1; then nothing is read from weight.
void embedding(In<i64> index, In<real> weight, Out<real> y, Out<i64> bad) {
    const i64 n = index.size(), rows = weight.dim(0), width = weight.dim(1);
    bad.data[0] = -1;
    const i64 ahead = width <= 128 ? 8 : 2;   // rows that are fetched
    constexpr i64 TOGETHER = 16;
    const auto wrong = [=](i64 p) {   // of so many indices, compared at once
        bool any = false;
        for (i64 i = p; i < p + TOGETHER; ++i)
            any |= std::uint64_t(read_once(index.data + i)) >= std::uint64_t(rows);
        return any;
    };
    i64 right = 0;
    while (right + TOGETHER <= n && !wrong(right)) right += TOGETHER;
    for (i64 p = right; p < n; ++p)
        if (const i64 r = read_once(index.data + p); r < 0 || r >= rows) {
            bad.data[0] = p;
            return;
        }
    parallel_for(n, 1 + 16384 / (width + 16), [=](i64 begin, i64 end) {
        const i64* const at = index.data;
        const auto row_at = [=](i64 p) {
            i64 r = read_once(at + p);   // another thread may have changed it since it was checked
            r     = r < 0 ? 0 : r < rows ? r : rows - 1;
            return weight.data + r * width;
        };
        const auto copy = [&](auto vectors, i64 p) {   // of so many vectors, or of any number
            const real* const row = row_at(p);
            real* const out = y.data + p * width;
            if constexpr (vectors() > 0)
                for (int v = 0; v < vectors(); ++v) store(out + v * LANES, load(row + v * LANES));
            else for_vectors(width, [=](i64 i, auto lanes) { lanes.store(out + i, lanes.load(row + i)); });
        };
        const auto all = [&](auto vectors) {
            for (i64 p = begin; p < end; ++p) {
                if (p + ahead < end) {
                    const real* const next = row_at(p + ahead);
                    for (i64 i = 0; i < width && i < FETCHED; i += 64 / sizeof(real)) __builtin_prefetch(next + i);
                }
                copy(vectors, p);
            }
        };
        if (width == LANES) all(std::integral_constant<int, 1>{});
        else if (width == 2 * LANES) all(std::integral_constant<int, 2>{});
        else if (width == 4 * LANES) all(std::integral_constant<int, 4>{});
        else all(std::integral_constant<int, 0>{});
    });
}

static void add_row(const real* g, i64 width, real* row) {
    for_vectors(width,
                [&](i64 i, auto lanes) { lanes.store(row + i, lanes.load(row + i) + lanes.load(g + i)); });
}

void embedding_backward(In<real> g, In<i64> index, i64 padding, bool by_frequency, Out<real> dweight) {
    const i64 n = index.size(), rows = dweight.dim(0), width = dweight.dim(1);
    const i64 work = (n + rows) * width / (rows + 1) + 1;   // values touched for a row, on average
    parallel_for(rows, 1 + 16384 / work, [&](i64 begin, i64 end) {
        std::memset(dweight.data + begin * width, 0, (end - begin) * width * sizeof(real));
        for (i64 p = 0; p < n; ++p) {
            const i64 r = read_once(index.data + p);
            if (r >= begin && r < end && r != padding)
                add_row(g.data + p * width, width, dweight.data + r * width);
        }
        if (!by_frequency) return;
        Scratch<i64> count(end - begin);
        std::memset(count, 0, (end - begin) * sizeof(i64));
        for (i64 p = 0; p < n; ++p)
            if (const i64 r = read_once(index.data + p); r >= begin && r < end) ++count[r - begin];
        for (i64 r = begin; r < end; ++r)
            for (i64 i = 0; count[r - begin] > 1 && i < width; ++i)
                dweight.data[r * width + i] /= (real)count[r - begin];
    });
}

// ---- bags: the sum, the mean or the greatest of some rows each, without those rows in between

enum : i64 { SUM, MEAN, MAX };

static void greater(const real* row, i64 r, i64 width, bool first, real* y, i64* greatest) {
    for (i64 i = 0; i < width; ++i)
        if (first || row[i] > y[i] || row[i] != row[i]) y[i] = row[i], greatest[i] = r;
}

void embedding_bag(In<i64> index, In<i64> offsets, In<real> weight, In<real> factors, bool closed, i64 mode,
                   i64 padding, Out<real> y, Out<i64> bag, Out<real> count, Out<i64> greatest) {
    const i64 n = index.size(), rows = weight.dim(0), width = weight.dim(1), bags = offsets.size() - closed;
    for (i64 p = 0; p < n; ++p) bag.data[p] = -1;
    const auto offset = [&](i64 b) {   // the end of the indices is one, too
        return b < offsets.size() ? place_of(offsets.data + b, n + 1, false) : n;
    };
    parallel_for(bags, 1 + 16384 / ((n / (bags + 1) + 1) * width + 1), [&](i64 begin, i64 end) {
        for (i64 b = begin; b < end; ++b) {
            real* to = y.data + b * width;
            i64   used = 0;
            std::memset(to, 0, width * sizeof(real));
            if (mode == MAX) std::fill_n(greatest.data + b * width, width, i64(-1));
            for (i64 p = offset(b), last = offset(b + 1); p < last; ++p) {
                const i64 r = place_of(index.data + p, rows, false);
                if (r == padding) continue;
                const real* row = weight.data + r * width;
                bag.data[p] = b;
                if (mode == MAX) greater(row, r, width, used == 0, to, greatest.data + b * width);
                else {
                    const V f = splat(factors ? factors.data[p] : 1);
                    for_vectors(width, [&](i64 i, auto lanes) {
                        lanes.store(to + i, lanes.load(to + i) + f * lanes.load(row + i));
                    });
                }
                ++used;
            }
            count.data[b] = real(used);
            if (mode == MEAN && used > 1)
                for_vectors(width, [&](i64 i, auto lanes) { lanes.store(to + i, lanes.load(to + i) / real(used)); });
        }
    });
}

// As embedding_backward: a thread owns rows.
void embedding_bag_backward(In<real> g, In<i64> index, In<real> factors, In<i64> bag, In<real> count,
                            In<i64> greatest, i64 mode, bool by_frequency, Out<real> dweight) {
    const i64 n = index.size(), rows = dweight.dim(0), width = dweight.dim(1), bags = count.size();
    const i64 work = ((mode == MAX ? bags : n) + rows) * width / (rows + 1) + 1;
    parallel_for(rows, 1 + 16384 / work, [&](i64 begin, i64 end) {
        std::memset(dweight.data + begin * width, 0, (end - begin) * width * sizeof(real));
        if (mode == MAX) {
            for (i64 k = 0; k < bags * width; ++k)
                if (const i64 r = greatest.data[k]; r >= begin && r < end)
                    dweight.data[r * width + k % width] += g.data[k];
            return;
        }
        Scratch<i64> often(end - begin);
        std::memset(often, 0, (end - begin) * sizeof(i64));
        for (i64 p = 0; p < n; ++p) {
            const i64 r = read_once(index.data + p), b = bag.data[p];
            if (r < begin || r >= end) continue;
            ++often[r - begin];
            if (b < 0) continue;
            const V     f = splat((factors ? factors.data[p] : 1) / (mode == MEAN ? count.data[b] : 1));
            const real* from = g.data + b * width;
            real*       row = dweight.data + r * width;
            for_vectors(width, [&](i64 i, auto lanes) {
                lanes.store(row + i, lanes.load(row + i) + f * lanes.load(from + i));
            });
        }
        for (i64 r = begin; by_frequency && r < end; ++r)
            for (i64 i = 0; often[r - begin] > 1 && i < width; ++i)
                dweight.data[r * width + i] /= (real)often[r - begin];
    });
}

void embedding_bag_factors(In<real> g, In<i64> index, In<i64> bag, In<real> weight, Out<real> dfactors) {
    const i64 width = weight.dim(1), rows = weight.dim(0);
    parallel_for(index.size(), 1 + 16384 / (width + 1), [&](i64 begin, i64 end) {
        for (i64 p = begin; p < end; ++p) {
            V sum{};
            const i64 r = place_of(index.data + p, rows, false), b = bag.data[p];
            if (b >= 0)
                for_vectors(width, [&](i64 i, auto lanes) {
                    sum += lanes.load(g.data + b * width + i) * lanes.load(weight.data + r * width + i);
                });
            dfactors.data[p] = hsum(sum);
        }
    });
}

END_KERNELS
