// The permutohedral lattice of a cloud of points: Adams, Baek & Davis, "Fast High-Dimensional Filtering Using
// the Permutohedral Lattice" (2010).
//
// A thread finds the simplex around a point: d + 1 corners and their weights. Corners meet in a table, where
// those of one vertex share a slot, whoever comes first. sort.cu then brings the corners of a slot side by
// side, in the order of points, so that no sum depends on who came first; where a slot begins among them, a
// vertex does, and vertices are numbered in that order.
#include "permutohedral/lattice.cuh"

constexpr int THREADS = 256;
constexpr acc FARTHEST = 1 << 20;   // of a feature: beyond it float has no whole numbers of the lattice

// The simplex around a point, section 4.2 of the paper; x: its features, in units of the lattice and then in
// d + 1 coordinates of sum 0
struct Simplex {
    acc x[MOST + 1], weight[MOST + 2];
    int base[MOST + 1], rank[MOST + 1];
    __device__ __forceinline__ void find(int d) {
        acc sum = 0;
        for (int i = d; i > 0; --i) {
            const acc scaled = x[i - 1] * (acc)((d + 1) * sqrt(2. / 3 / ((double)i * (i + 1))));
            x[i] = sum - i * scaled;
            sum += scaled;
        }
        x[0] = sum;
        int total = 0;
        for (int i = 0; i <= d; ++i) {
            const acc cells = x[i] / (d + 1), low = floor(cells);
            const int nearest = (int)low + !(cells - low < acc(0.5));
            base[i] = nearest * (d + 1);
            total += nearest;
        }
        for (int i = 0; i <= d; ++i) rank[i] = total;
        for (int i = 0; i < d; ++i)
            for (int j = i + 1; j <= d; ++j) ++rank[x[i] - base[i] < x[j] - base[j] ? i : j];
        // back to the plane of sum 0: the coordinates that were rounded the furthest go the other way
        for (int i = 0; i <= d; ++i) {
            const int over = rank[i] < 0 ? 1 : rank[i] > d ? -1 : 0;
            rank[i] += over * (d + 1), base[i] += over * (d + 1);
        }
        for (int i = 0; i <= d + 1; ++i) weight[i] = 0;
        for (int i = 0; i <= d; ++i) {
            const acc share = (x[i] - base[i]) / (d + 1);
            weight[d - rank[i]] += share;
            weight[d + 1 - rank[i]] -= share;
        }
        weight[0] += 1 + weight[d + 1];
    }
};

extern "C" {
// weights (n, d + 1), keys (n (d + 1), d); a point that is nowhere has weights of 0, and 1 in lost
__global__ void __launch_bounds__(THREADS)
    lattice_simplices(const real* features, int n, int d, acc* weights, int* keys, unsigned char* lost) {
    for (GRID_STRIDE(p, n)) {
        Simplex s;
        bool nowhere = false;
        for (int i = 0; i < d; ++i) nowhere |= !(fabs(s.x[i] = value(features[p * d + i])) <= FARTHEST);
        for (int i = 0; nowhere && i < d; ++i) s.x[i] = 0;
        s.find(d);
        lost[p] = nowhere;
        for (int r = 0; r <= d; ++r) {
            const i64 corner = p * (d + 1) + r;
            weights[corner] = nowhere ? acc(0) : s.weight[r];
            for (int i = 0; i < d; ++i)
                keys[corner * d + i] = s.base[i] + (s.rank[i] <= d - r ? r : r - (d + 1));
        }
    }
}

// slots: zeros; place (corners): the slot of each, and order: 0, 1, 2 ..
__global__ void __launch_bounds__(THREADS) lattice_insert(const int* keys, int d, int corners, unsigned mask,
                                                          int* slots, unsigned* place, int* order) {
    const Table table{keys, d, mask};
    for (GRID_STRIDE(i, corners)) {
        place[i] = table.put(slots, (int)i);
        order[i] = (int)i;
    }
}

// Of corners by their slots, as sort.cu leaves them: 1 where a vertex begins
__global__ void __launch_bounds__(THREADS) lattice_begins(const unsigned* place, int corners, int* begins) {
    for (GRID_STRIDE(i, corners)) begins[i] = i == 0 || place[i] != place[i - 1];
}

// before: how many vertices begin before each corner. starts (vertices + 1), vertex of each slot and of each
// corner, count: of vertices
__global__ void __launch_bounds__(THREADS)
    lattice_number(const unsigned* place, const int* order, const int* before, int corners, int* starts,
                   int* of_slot, int* of_corner, int* count) {
    for (GRID_STRIDE(i, corners)) {
        const bool begins = i == 0 || place[i] != place[i - 1];
        const int vertex = before[i] - !begins;
        of_corner[order[i]] = vertex;
        if (begins) starts[vertex] = (int)i, of_slot[place[i]] = vertex;
        if (i == corners - 1) starts[vertex + 1] = corners, *count = vertex + 1;
    }
}

// sides (vertices, d + 1, 2): the vertices on either side along each axis, or -1
__global__ void __launch_bounds__(THREADS)
    lattice_sides(const int* keys, int d, unsigned mask, const int* slots, const int* order,
                  const int* starts, const int* of_slot, const int* count, int* sides) {
    const Table table{keys, d, mask};
    const i64 all = (i64)*count * (d + 1) * 2;
    for (GRID_STRIDE(t, all)) {
        const int vertex = (int)(t / (2 * (d + 1))), axis = (int)(t / 2 % (d + 1)), step = t % 2 ? -1 : 1;
        const int* const own = keys + (i64)order[starts[vertex]] * d;
        int key[MOST];
        for (int i = 0; i < d; ++i) key[i] = own[i] + step - (i == axis ? step * (d + 1) : 0);
        const int slot = table.find(slots, key);
        sides[t] = slot < 0 ? -1 : of_slot[slot];
    }
}
}
