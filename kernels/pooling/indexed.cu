// Between a plane and values chosen from it by position: max_unpool writes them, pool_scatter adds
// them, pool_gather reads them.
// A position outside the plane is never followed.
//
// Of equal positions max_unpool keeps the last: the largest number of a value at each place is
// found first, by an atomic maximum of integers, whose order does not show; then every place
// fetches its value. pool_scatter adds in the order of memory: a warp owns a slice of a plane and
// walks all its positions, 32 at a time; those that meet in one place are added up by their first
// lane, in order of lanes.
#include "reduce.cuh"
#include "index.cuh"

extern "C" {
__global__ void __launch_bounds__(256)
    max_unpool_owners(const i64* indices, i64 total, int n, int size, int* owner, i64* outside) {
    for (GRID_STRIDE(t, total)) {
        const i64 at = indices[t], plane = t / n;
        if (at < 0 || at >= size) atomicAdd((unsigned long long*)outside, 1ull);
        else atomicMax(owner + plane * size + at, (int)(t - plane * n));
    }
}

__global__ void __launch_bounds__(256)
    max_unpool_fetch(const real* x, const int* owner, i64 total, int n, int size, real* y) {
    for (GRID_STRIDE(t, total)) y[t] = owner[t] < 0 ? rounded(0) : x[t / size * n + owner[t]];
}

__global__ void __launch_bounds__(256) pool_scatter(const real* dy, const i64* indices, int tasks, int slices,
                                                    int slice, int n, int size, real* dx) {
    const int task = (int)(thread_index() >> 5), lane = threadIdx.x & 31;
    if (task >= tasks) return;
    const int plane = task / slices, low = (task - plane * slices) * slice, high = min(low + slice, size);
    indices += (i64)plane * n;
    dy += (i64)plane * n;
    dx += (i64)plane * size;
    for (int i = low + lane; i < high; i += 32) dx[i] = rounded(0);
    for (int from = 0; from < n; from += 32) {
        __syncwarp();   // what one lane wrote another may add to
        const i64 at = from + lane < n ? indices[from + lane] : -1;
        const bool mine = at >= low && at < high;
        if (!__any_sync(WARP, mine)) continue;
        const acc v = mine ? value(dy[from + lane]) : acc(0);
        const int place = mine ? (int)at : -1 - lane;   // nobody's places are all different
        const unsigned same = __match_any_sync(WARP, place);
        acc sum = v;
        if (__any_sync(WARP, same != 1u << lane)) {
            sum = 0;
            for (int l = 0; l < 32; ++l) {
                const acc other = __shfl_sync(WARP, v, l);
                if (same >> l & 1) sum += other;
            }
        }
        if (mine && __ffs((int)same) - 1 == lane) dx[place] = rounded(value(dx[place]) + sum);
    }
}

__global__ void __launch_bounds__(256)
    pool_gather(const real* x, const i64* indices, i64 total, int n, int size, real* y) {
    for (GRID_STRIDE(t, total)) {
        const i64 at = indices[t];
        y[t] = at < 0 || at >= size ? rounded(0) : x[t / n * size + at];
    }
}
}
