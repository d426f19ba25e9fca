// cat: one input is copied to its place in the result. The result is `outer` rows of `pitch`
// values, of which the input fills `width` from `offset` on. Threads share the values, not the
// rows, since a cat along the first axis has a single row.
#include "copy_run.h"
#include "kernel.h"

BEGIN_KERNELS

constexpr i64 GRAIN = 1 << 16;   // values worth a thread: a copy of 256 KiB takes ~20 us

// Rows shorter than a vector: a call of memcpy for each would cost more than its values.
static void copy_narrow(const real* x, i64 rows, i64 width, i64 pitch, real* y) {
    for (i64 r = 0; r < rows; ++r)
        for (i64 i = 0; i < width; ++i) y[r * pitch + i] = x[r * width + i];
}

static void copy_rows(const real* x, i64 begin, i64 end, i64 width, i64 pitch, real* y) {
    for (i64 i = begin; i < end;) {
        const i64 row = i / width, column = i % width,
                  n = end - i < width - column ? end - i : width - column;
        copy_run(y + row * pitch + column, x + i, n * sizeof(real));
        i += n;
    }
}

void cat_copy(In<real> x, i64 width, i64 pitch, i64 offset, Out<real> y) {
    if (x.size() == 0) return;
    real* to = y.data + offset;
    if (width < LANES) {
        parallel_for(x.size() / width, GRAIN / width, [&](i64 begin, i64 end) {
            copy_narrow(x.data + begin * width, end - begin, width, pitch, to + begin * pitch);
        });
        return;
    }
    parallel_for(x.size(), GRAIN,
                 [&](i64 begin, i64 end) { copy_rows(x.data, begin, end, width, pitch, to); });
}

END_KERNELS
