// embedding: y[p] = weight[index[p]], and its gradient dweight[r] = sum of g[p] where index[p] = r.
// In the gradient a thread owns a range of rows and walks all indices in order, adding those of its
// range: no two threads add to one row, and a row's order of accumulation is that of the positions
// for any thread count. The walk costs a comparison an index, the additions a row's length.
#include "kernel.h"

BEGIN_KERNELS

// bad becomes the position of the first index that is no row, or -1; then nothing is read from weight.
void embedding(In<i64> index, In<real> weight, Out<real> y, Out<i64> bad) {
    const i64 n = index.size(), rows = weight.dim(0), width = weight.dim(1);
    bad.data[0] = -1;
    for (i64 p = 0; p < n; ++p)
        if (const i64 r = read_once(index.data + p); r < 0 || r >= rows) {
            bad.data[0] = p;
            return;
        }
    parallel_for(n, 1 + 32768 / (width + 1), [&](i64 begin, i64 end) {
        for (i64 p = begin; p < end; ++p) {
            i64 r = read_once(index.data + p);   // another thread may have changed it since it was checked
            r     = r < 0 ? 0 : r < rows ? r : rows - 1;
            for_vectors(width, [&](i64 i, auto lanes) {
                lanes.store(y.data + p * width + i, lanes.load(weight.data + r * width + i));
            });
        }
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

END_KERNELS
