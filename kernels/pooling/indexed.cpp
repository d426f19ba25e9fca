// Between a plane and values chosen from it by position: max_unpool writes them, pool_scatter adds
// them, pool_gather reads them. A position outside the plane is never followed. A plane is one
// task, so that of equal positions the last one written stays.
#include "indices.h"
#include "kernel.h"

BEGIN_KERNELS

template <class Put> static i64 for_positions(In<i64> indices, i64 planes, i64 n, i64 size, Put put) {
    i64 outside = 0;
    parallel_for(planes, 1 + 8192 / (n + size + 1), [&](i64 begin, i64 end) {
        i64 mine = 0;
        for (i64 plane = begin; plane < end; ++plane)
            for (i64 i = plane * n; i < (plane + 1) * n; ++i) {
                const i64 at = read_once(indices.data + i);
                if (at < 0 || at >= size) ++mine;
                else put(i, plane * size + at);
            }
        __atomic_fetch_add(&outside, mine, __ATOMIC_RELAXED);
    });
    return outside;
}

void max_unpool(In<real> x, In<i64> indices, i64 size, Out<real> y, Out<i64> outside) {
    const i64 planes = size ? y.size() / size : 0, n = planes ? x.size() / planes : 0;
    std::memset(y.data, 0, y.size() * sizeof(real));
    outside.data[0] = for_positions(indices, planes, n, size, [=](i64 i, i64 at) { y.data[at] = x.data[i]; });
    if (outside.data[0])   // which a program only has while it runs
        for (i64 i = 0; i < planes * n; ++i) place_of(indices.data + i, size, false);
}

void pool_scatter(In<real> dy, In<i64> indices, i64 size, Out<real> dx) {
    const i64 planes = size ? dx.size() / size : 0, n = planes ? dy.size() / planes : 0;
    std::memset(dx.data, 0, dx.size() * sizeof(real));
    for_positions(indices, planes, n, size, [=](i64 i, i64 at) { dx.data[at] += dy.data[i]; });
}

void pool_gather(In<real> x, In<i64> indices, i64 size, Out<real> y) {
    const i64 planes = size ? x.size() / size : 0, n = planes ? y.size() / planes : 0;
    std::memset(y.data, 0, y.size() * sizeof(real));
    for_positions(indices, planes, n, size, [=](i64 i, i64 at) { y.data[i] = x.data[at]; });
}

END_KERNELS
