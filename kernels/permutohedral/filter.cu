// The Gaussian filter on a permutohedral lattice: values go to the vertices around their points by barycentric
// weights (splat), each vertex takes a quarter of either neighbour along each of d + 1 axes (blur), and a point
// reads its vertices by the same weights (slice).
//
// How many vertices there are the device alone knows: the kernels of vertices are loops over all of them. A
// vertex adds its points in their order, split among as many groups of lanes as the channels leave room for.
#include "reduce.cuh"
#include "index.cuh"

constexpr int THREADS = 256;

extern "C" {
// A warp a vertex and 32 channels: `wide` lanes have a channel each, a power of two. held (vertices, c): of the
// corners from starts[v] on, in the order of points
__global__ void __launch_bounds__(THREADS)
    lattice_splat(const real* values, const acc* weights, const unsigned char* lost, const int* order,
                  const int* starts, const int* count, int c, int d, int wide, acc* held) {
    const int lane = threadIdx.x & 31, column = lane % wide, group = lane / wide, groups = 32 / wide,
              across = (c + wide - 1) / wide;
    const i64 warps = thread_count() / 32;
    for (i64 task = thread_index() / 32; task < (i64)*count * across; task += warps) {
        const int vertex = (int)(task / across), k = (int)(task % across) * wide + column;
        acc sum = 0;
        if (k < c)
            for (int i = starts[vertex] + group; i < starts[vertex + 1]; i += groups) {
                const int corner = order[i], p = corner / (d + 1);
                // of a point that is nowhere the value may be NaN as well
                if (!lost[p]) sum = fma(weights[corner], value(values[(i64)p * c + k]), sum);
            }
        for (int step = wide; step < 32; step *= 2) sum += __shfl_xor_sync(WARP, sum, step);
        if (group == 0 && k < c) held[(i64)vertex * c + k] = sum;
    }
}

__global__ void __launch_bounds__(THREADS)
    lattice_blur(const acc* from, const int* sides, const int* count, int c, int axes, int axis, acc* to) {
    const i64 all = (i64)*count * c;
    for (GRID_STRIDE(t, all)) {
        const i64 vertex = t / c;
        const int k = (int)(t - vertex * c);
        const int* const side = sides + (vertex * axes + axis) * 2;
        const acc one = side[0] < 0 ? acc(0) : from[(i64)side[0] * c + k],
                  other = side[1] < 0 ? acc(0) : from[(i64)side[1] * c + k];
        to[t] = acc(0.5) * from[t] + acc(0.25) * (one + other);
    }
}

__global__ void __launch_bounds__(THREADS)
    lattice_slice(const acc* held, const acc* weights, const unsigned char* lost, const int* of_corner,
                  int corners, int c, real* y, i64 size) {
    for (GRID_STRIDE(t, size)) {
        const i64 p = t / c;
        const int k = (int)(t - p * c);
        acc sum = 0;
        for (int r = 0; r < corners; ++r)
            sum = fma(weights[p * corners + r], held[(i64)of_corner[p * corners + r] * c + k], sum);
        y[t] = rounded(lost[p] ? not_a_number() : sum);
    }
}
}
