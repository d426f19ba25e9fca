// embedding_sum: rows of up to three tables added in one pass, y[p] = (A[a[p]] + B[b[p]]) + C[c[p]], as
// words, segments and positions of a text are. The second and third index may have fewer entries, which
// then begin anew; one that is left out counts places instead, anew after each `length`. An index that
// is no row is refused as it is read.
#include "indices.h"
#include "kernel.h"

BEGIN_KERNELS
namespace {
struct Table {
    const i64* index;
    i64 count, length;
    const real* weight;
    i64 rows, width;
    const real* row(i64 p) const {
        if (index) return weight + place_of(index + p % count, rows, false) * width;
        const i64 place = p % length;
        return weight + place_of(&place, rows, false) * width;
    }
};

Table table(In<i64> index, In<real> weight, i64 length, i64 width) {
    return {index.data, index ? index.size() : 1, length < 1 ? 1 : length, weight.data, weight ? weight.dim(0) : 0,
            width};
}
}  // namespace

void embedding_sum(In<i64> a, In<real> first, In<i64> b, In<real> second, In<i64> c, In<real> third, i64 length,
                   Out<real> y) {
    const i64   width = first.dim(1);
    const Table words = table(a, first, length, width), others = table(b, second, length, width),
                last = table(c, third, length, width);
    parallel_for(a.size(), 1 + 16384 / (width + 1), [&](i64 begin, i64 end) {
        for (i64 p = begin; p < end; ++p) {
            const real *x = words.row(p), *u = second ? others.row(p) : nullptr, *v = third ? last.row(p) : nullptr;
            for_vectors(width, [&](i64 i, auto lanes) {
                V sum = lanes.load(x + i);
                if (u) sum += lanes.load(u + i);
                if (v) sum += lanes.load(v + i);
                lanes.store(y.data + p * width + i, sum);
            });
        }
    });
}
END_KERNELS
