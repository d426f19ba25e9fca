// What the weight gradients that are matrix products (weight_gradient.cu,
// weight_gradient_tensor.cu) have in common:
//     dw[m, k] = sum over p of dy[m, p] x[k, p],   m a filter, k = (channel, tap), p an output position of any sample.
//
// The sum runs over far more terms than there are results, so p is cut in `splits` parts, each a
// block's own; split_sum adds them in order.
#pragma once
#include "geometry.cuh"

struct Shape {   // of one group
    int batch, channels, filters, groups, splits;
    __device__ __forceinline__ Shape(const Dims& s)
        : batch(s[0]), channels(s[1]), filters(s[2]), groups(s[3]), splits(s[4]) {}
};

// A block's ROWS x COLUMNS results of one group, and its slices of DEEP positions. Filter tile
// fastest: blocks that run together read the same x.
template <int ROWS, int COLUMNS, int DEEP> struct Block {
    int m0, k0, columns, group, split, pixels, begin, end;
    __device__ __forceinline__ Block(const Shape& s, const Window& win, int id)
        : columns(s.channels * win.taps()), pixels(s.batch * win.grid()) {
        const int row_tiles = (s.filters + ROWS - 1) / ROWS, column_tiles = (columns + COLUMNS - 1) / COLUMNS;
        m0 = id % row_tiles * ROWS;
        id /= row_tiles;
        k0 = id % column_tiles * COLUMNS;
        id /= column_tiles;
        group = id % s.groups, split = id / s.groups;
        const int slices = (pixels + DEEP - 1) / DEEP, each = (slices + s.splits - 1) / s.splits;
        begin = min(slices, split * each), end = min(slices, begin + each);
    }
    // Where the group's results begin, in dw or in this part of the sums.
    __device__ __forceinline__ i64 results(const Shape& s, bool partial) const {
        return ((partial ? (i64)split * s.groups : 0) + group) * s.filters * columns;
    }
};

struct Walk {   // an output position that goes on
    int n, d, h, w;
    __device__ __forceinline__ Walk(const Window& win, int pixel) {
        w = pixel % win.w.grid;
        const int line = pixel / win.w.grid, slab = line / win.h.grid;
        h = line % win.h.grid, d = slab % win.d.grid, n = slab / win.d.grid;
    }
    __device__ __forceinline__ void go_on(const Window& win, int by) {
        for (w += by; w >= win.w.grid; w -= win.w.grid)
            if (++h == win.h.grid) {
                h = 0;
                if (++d == win.d.grid) d = 0, ++n;
            }
    }
    __device__ __forceinline__ Corner corner(const Window& win, bool used) const {
        return used ? win.corner(n, d, h, w) : Corner{0, 0, FAR, FAR, FAR, 0};
    }
};

struct Cursor {   // the same within planes of whole packets: a sample, and a position in its plane
    int n, at, plane;
    __device__ __forceinline__ Cursor(int pixel, int plane)
        : n(pixel / plane), at(pixel % plane), plane(plane) {}
    __device__ __forceinline__ void go_on(int by) {
        for (at += by; at >= plane; at -= plane) ++n;
    }
};

// What columns k0 .. k0 + COUNT add to a position; one beyond the last reads nothing but zeros.
template <int COUNT, int THREADS>
__device__ __forceinline__ void find_places(const Window& win, int k0, int columns, Place* places) {
    for (int i = threadIdx.x; i < COUNT; i += THREADS) {
        const int k = k0 + i;
        places[i] = k < columns ? win.place(k / win.taps(), k % win.taps()) : Place{0, FAR, 0, 0};
    }
    __syncthreads();
}
