// embedding: y[p] = weight[index[p]], and its gradient dweight[r] = sum of g[p] where index[p] = r.
//
// In the gradient a block owns a tile of rows and a strip of columns. It walks the indices, notes
// those of its rows in a list in the order of positions, and its warps add them up: a row belongs
// to one warp, a column to one lane, so that nothing is added by two threads and the order is that
// of the positions. Where positions are many and rows few, the walk is cut into chunks whose
// results are added after. Sorting the indices would cost more launches than the walk costs time: n
// rows / TILE comparisons, 2048 at once.
#include "reduce.cuh"
#include "index.cuh"

constexpr int WARPS = 8, EACH = 8, LIST = WARPS * 32 * EACH;   // a thread looks at EACH positions in a row
constexpr int STRIP = 4;                                       // columns of a lane, 32 apart

template <int W> __device__ __forceinline__ bool aligned(const real* p) {
    return ((size_t)p & (sizeof(real) * W - 1)) == 0;
}

template <int W>
__device__ __forceinline__ void copy_rows(const i64* index, const real* weight, i64 total, int rows,
                                          int width, real* y, i64* bad) {
    typedef Packet<real, W> P;
    const int per_row = width / W;
    for (GRID_STRIDE(t, total)) {
        const int p = (int)(t / per_row), i = (int)(t - (i64)p * per_row);
        const i64 row = index[p];
        P v;
        if (row >= 0 && row < rows) {
            const real* from = weight + row * width + i * W;
            if (aligned<W>(from)) v = *(const P*)from;
            else for (int k = 0; k < W; ++k) v.v[k] = from[k];
        } else {   // what lies outside is never read
            for (int k = 0; k < W; ++k) v.v[k] = rounded(not_a_number());
            // -1, which is there if all are rows, is the largest
            if (i == 0) atomicMin((unsigned long long*)bad, (unsigned long long)p);
        }
        real* to = y + t * W;
        if (aligned<W>(to)) *(P*)to = v;
        else for (int k = 0; k < W; ++k) to[k] = v.v[k];
    }
}

struct Matches { int position[LIST], row[LIST], ahead[WARPS]; };

// The positions of [from, from + LIST), below `to`, whose row lies in the tile, in order. The
// number of them; the block meets twice.
__device__ __forceinline__ int collect(const i64* index, i64 from, i64 to, i64 first, int rows, i64 padding,
                                       Matches& m) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int row[EACH], count = 0;
#pragma unroll
    for (int k = 0; k < EACH; ++k) {
        const i64 p = from + threadIdx.x * EACH + k, r = p < to ? index[p] : -1;
        row[k] = r >= first && r < first + rows && r != padding ? (int)(r - first) : -1;
        count += row[k] >= 0;
    }
    int at = count;   // inclusive sum over the lanes before
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        const int before = __shfl_up_sync(WARP, at, step);
        if (lane >= step) at += before;
    }
    __syncthreads();   // the list before this one has been read
    if (lane == 31) m.ahead[warp] = at;
    __syncthreads();
    at -= count;
    int total = 0;
#pragma unroll 1
    for (int w = 0; w < WARPS; ++w) {
        if (w < warp) at += m.ahead[w];
        total += m.ahead[w];
    }
#pragma unroll
    for (int k = 0; k < EACH; ++k)
        if (row[k] >= 0) {
            m.position[at] = (int)(from + threadIdx.x * EACH + k);
            m.row[at++] = row[k];
        }
    __syncthreads();
    return total;
}

// Adds the listed rows of g to one row of the result, of which `to` points at this lane's first column.
template <class T>
__device__ __forceinline__ void add_matches(const real* g, const Matches& m, int count, int row, int width,
                                            int columns, T* to) {
    acc sum[STRIP];
    bool any = false;
#pragma unroll 1
    for (int e = 0; e < count; ++e) {
        if (m.row[e] != row) continue;
        const real* from = g + (i64)m.position[e] * width;
#pragma unroll
        for (int k = 0; k < STRIP; ++k)
            if (32 * k < columns) sum[k] = (any ? sum[k] : (acc)to[32 * k]) + value(from[32 * k]);
        any = true;
    }
#pragma unroll
    for (int k = 0; k < STRIP; ++k)
        if (any && 32 * k < columns) to[32 * k] = (T)sum[k];
}

// blockIdx.x: tile of rows and chunk of positions; blockIdx.y: strip of columns
template <class T>
__device__ __forceinline__ void gather(const real* g, const i64* index, i64 n, i64 chunk, int chunks,
                                       int rows, int tile, int width, i64 padding, T* dweight) {
    __shared__ Matches m;
    const int c = blockIdx.x % chunks, first = blockIdx.x / chunks * tile, mine = min(tile, rows - first);
    // left from this lane's first on
    const int column = blockIdx.y * 32 * STRIP + (threadIdx.x & 31), columns = width - column;
    T* to = dweight + ((i64)c * rows + first) * width + column;
    for (int r = threadIdx.x >> 5; r < mine; r += WARPS)
        for (int k = 0; k < STRIP; ++k)
            if (32 * k < columns) to[(i64)r * width + 32 * k] = (T)acc(0);
    const i64 end = min(n, (c + 1) * chunk);
    for (i64 from = c * chunk; from < end; from += LIST) {
        const int count = collect(index, from, end, first, mine, padding, m);
        for (int r = threadIdx.x >> 5; r < mine; r += WARPS)
            add_matches(g + column, m, count, r, width, columns, to + (i64)r * width);
    }
}

extern "C" {
__global__ void __launch_bounds__(256) embedding(const i64* index, const real* weight, i64 total, int rows,
                                                 int width, int packed, real* y, i64* bad) {
    if (packed) copy_rows<LANES>(index, weight, total, rows, width, y, bad);
    else copy_rows<1>(index, weight, total, rows, width, y, bad);
}
// what embedding does beside copying, where rows have no width
__global__ void __launch_bounds__(256) embedding_check(const i64* index, i64 n, int rows, i64* bad) {
    for (GRID_STRIDE(p, n))
        if (index[p] < 0 || index[p] >= rows) atomicMin((unsigned long long*)bad, (unsigned long long)p);
}

__global__ void __launch_bounds__(256)
    embedding_backward(const real* g, const i64* index, i64 n, i64 chunk, int chunks, int rows, int tile,
                       int width, i64 padding, real* dweight) {
    gather(g, index, n, chunk, chunks, rows, tile, width, padding, dweight);
}
__global__ void __launch_bounds__(256)
    embedding_backward_chunks(const real* g, const i64* index, i64 n, i64 chunk, int chunks, int rows,
                              int tile, int width, i64 padding, acc* partial) {
    gather(g, index, n, chunk, chunks, rows, tile, width, padding, partial);
}
__global__ void __launch_bounds__(256) embedding_count(const i64* index, i64 n, int rows, int* count) {
    for (GRID_STRIDE(p, n))
        if (index[p] >= 0 && index[p] < rows) atomicAdd(count + index[p], 1);
}
__global__ void __launch_bounds__(256)
    embedding_by_frequency(const int* count, i64 total, int width, real* dweight) {
    for (GRID_STRIDE(t, total)) {
        const int n = count[t / width];
        if (n > 1) dweight[t] = rounded(value(dweight[t]) / acc(n));
    }
}
}
