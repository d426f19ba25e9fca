// Logits are (outer, classes, inner); a position is one of outer x inner, with a loss of its own.
// Where inner is 1 a position's classes are one row of memory, else the classes of neighbouring
// positions lie beside each other and vectors run over positions. Work is cut into chunks of
// positions by the shape alone: a chunk is summed in order, and the chunks' sums are added in
// order, so a reduced loss is the same for any thread count.
#pragma once
#include "kernel.h"
#include "reduction.h"

BEGIN_KERNELS

constexpr i64 MOST_POSITIONS = 256;

struct Classes {
    i64 outer, classes, inner;
    i64 stride() const { return inner == 1 ? classes : 1; }   // from a position to the next of its chunk
    i64 per_chunk() const {
        const i64 n = 16384 / (classes + 1) / 16 * 16;
        return inner == 1 && n == 0 ? 1 + 16384 / (classes + 1)
               : n < 16             ? 16
               : n < MOST_POSITIONS ? n
                                    : MOST_POSITIONS;
    }
};
template <class T> static inline Classes classes_of(const View<T>& x) {
    Classes s{x.ndim == 1 ? 1 : x.shape[0], x.ndim == 1 ? x.shape[0] : x.shape[1], 1};
    for (int a = 2; a < x.ndim; ++a) s.inner *= x.shape[a];
    return s;
}

struct Chunk {
    i64 first, count;   // positions
    i64 offset;         // of the first position's class 0 among the logits
};
static inline i64 chunks_of(const Classes& s) {
    const i64 n = s.per_chunk();
    return s.inner == 1 ? (s.outer + n - 1) / n : s.outer * ((s.inner + n - 1) / n);
}
static inline Chunk chunk_at(const Classes& s, i64 number) {
    const i64 n = s.per_chunk(), run = s.inner == 1 ? s.outer : s.inner, per_run = (run + n - 1) / n;
    const i64 sample = number / per_run, begin = number % per_run * n,
              count = run - begin < n ? run - begin : n;
    return s.inner == 1 ? Chunk{begin, count, begin * s.classes}
                        : Chunk{sample * s.inner + begin, count, sample * s.classes * s.inner + begin};
}
template <class Body> static inline void for_chunks(const Classes& s, Body body) {
    parallel_for(chunks_of(s), 1 + 8192 / (s.per_chunk() * s.classes + 1), [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) body(i, chunk_at(s, i));
    });
}

// Class indices with a weight per class. An index that is neither a class nor ignored is never used
// as one: it makes its loss NaN, by which the caller knows. Each is read once a use, by operator[]:
// the array is the caller's and may change meanwhile.
struct Labels {
    const i64*  index;
    const real* weight;
    i64         classes, ignore;
    i64  operator[](i64 position) const { return read_once(index + position); }
    bool ignored(i64 label) const { return label == ignore; }
    bool valid(i64 label) const { return !ignored(label) && label >= 0 && label < classes; }
    real weight_of(i64 label) const { return weight ? weight[label] : real(1); }
};

END_KERNELS
