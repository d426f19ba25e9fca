// C = A B for batches of matrices in any of the four transpositions, y = x W^T + b, on
// ordinary multiply-add units.
//
// A block makes a tile of C from tiles of A and B that lie in shared memory with the rows (columns)
// side by side; each thread keeps TM x TN sums in registers. While one pair of tiles is multiplied,
// the next is on its way from memory into registers.
//
// A result is the sum, in order, of chains of CHAIN multiply-adds, each in the order of the
// reduction. That is so for every shape of tile, and whether the chains of a result are run by one
// block, which adds them up in C, or side by side by blocks of their own, whose sums gemm_join
// adds: so the same row gives the same bits in any batch, and few results with a long reduction
// still fill the device.
//
// 16-bit types go to tensor.cu; here they compile, but sums that wait in C would be rounded.
#include "index.cuh"
#include "ptx.cuh"
#include "tiles.cuh"

constexpr int CHAIN = 512;

// One matrix as `rows` x `depth`, where rows are what is not reduced over.
struct Operand {
    const real* data;
    int rows, depth, pitch;      // pitch: from one stored row to the next
    // by_rows: neighbours in memory are rows; packets: 16-byte accesses are aligned and whole
    bool by_rows, packets;
};

template <int ROWS, int DEPTH, int THREADS, int PITCH> struct Loader {
    static constexpr int COUNT = ROWS * DEPTH;
    static constexpr int PACKETS = ceil_div(COUNT / LANES, THREADS), SINGLES = ceil_div(COUNT, THREADS);
    real held[PACKETS * LANES > SINGLES ? PACKETS * LANES : SINGLES];

    // Calls f(slot, row, k) for each packet of W neighbours that is this thread's.
    template <int W, bool BY_ROWS, class F> __device__ __forceinline__ void each(F f) {
        constexpr int SIDE = (BY_ROWS ? ROWS : DEPTH) / W;
#pragma unroll
        for (int i = 0; i < ceil_div(COUNT / W, THREADS); ++i) {
            const int v = threadIdx.x + i * THREADS;
            if (COUNT / W % THREADS && v >= COUNT / W) break;
            if (BY_ROWS) f(i * W, v % SIDE * W, v / SIDE);
            else f(i * W, v / SIDE, v % SIDE * W);
        }
    }

    template <int W, bool BY_ROWS>
    __device__ __forceinline__ void fetch(const Operand& m, int row, int from, int end) {
        row = opaque(row);   // else the addresses of all steps wait in registers
        each<W, BY_ROWS>([&](int slot, int r, int k) {
            r += row;
            k += from;
            Packet<real, W> p = {};
            const i64 at = BY_ROWS ? (i64)k * m.pitch + r : (i64)r * m.pitch + k;
            if (r < m.rows && k < end) p = *reinterpret_cast<const Packet<real, W>*>(m.data + at);
#pragma unroll
            for (int j = 0; j < W; ++j) held[slot + j] = p.v[j];
        });
    }

    template <int W, bool BY_ROWS> __device__ __forceinline__ void put(acc* tile) {
        each<W, BY_ROWS>([&](int slot, int r, int k) {
            constexpr int STEP = BY_ROWS ? 1 : PITCH;
            // as one store, if they are neighbours
            constexpr int WIDEST = 16 / sizeof(acc), G = PITCH % WIDEST == 0 ? WIDEST : 8 / sizeof(acc);
            acc* const to = tile + k * PITCH + r;
            if constexpr (BY_ROWS && W % G == 0 && PITCH % G == 0) {
#pragma unroll
                for (int j = 0; j < W; j += G) {
                    Packet<acc, G> p;
#pragma unroll
                    for (int l = 0; l < G; ++l) p.v[l] = value(held[slot + j + l]);
                    *reinterpret_cast<Packet<acc, G>*>(to + j) = p;
                }
            } else {
#pragma unroll
                for (int j = 0; j < W; ++j) to[j * STEP] = value(held[slot + j]);
            }
        });
    }

    // Rows from `row` on, [from, end) of the reduction, zeros where there is nothing. The branches
    // are the same for all threads.
    __device__ __forceinline__ void load(const Operand& m, int row, int from, int end) {
        if (m.by_rows) m.packets ? fetch<LANES, true>(m, row, from, end) : fetch<1, true>(m, row, from, end);
        else m.packets ? fetch<LANES, false>(m, row, from, end) : fetch<1, false>(m, row, from, end);
    }
    __device__ __forceinline__ void store(const Operand& m, acc* tile) {
        if (m.by_rows) m.packets ? put<LANES, true>(tile) : put<1, true>(tile);
        else m.packets ? put<LANES, false>(tile) : put<1, false>(tile);
    }
};

// Where a thread's T rows of a tile lie: in groups that are one access to shared memory, next to
// the neighbouring threads' groups.
template <int T, int THREADS> struct Spread {
    static constexpr int G = T < (int)(16 / sizeof(acc)) ? T : 16 / sizeof(acc);
    __device__ static __forceinline__ int at(int thread, int i) {
        return i / G * THREADS * G + thread * G + i % G;
    }
    __device__ static __forceinline__ void read(const acc* tile, int thread, acc (&v)[T]) {
#pragma unroll
        for (int i = 0; i < T; i += G) {
            const Packet<acc, G> p = *reinterpret_cast<const Packet<acc, G>*>(tile + at(thread, i));
#pragma unroll
            for (int j = 0; j < G; ++j) v[i + j] = p.v[j];
        }
    }
};

// C and where sums go. If there are `partial` sums, chain number i of all results lies i
// * size from its start.
struct Result {
    real* c;
    acc* partial;
    const real* bias;
    int rows, columns, row_pitch, column_pitch, bias_row, bias_column;
    bool packets;   // a thread's neighbours are aligned neighbours in memory, and in C together

    __device__ __forceinline__ acc finished(int row, int column, acc sum, acc before, bool last) const {
        sum += before;
        return last && bias ? sum + value(bias[row * bias_row + column * bias_column]) : sum;
    }

    // Sums of N neighbours of a row
    template <int N>
    __device__ __forceinline__ void write(int row, int column, const acc (&sum)[N], bool first,
                                          bool last) const {
        if (row >= rows || column >= columns) return;
        const i64 at = (i64)row * row_pitch + (i64)column * column_pitch;
        if (!packets) {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                const i64 to = at + (i64)i * column_pitch;
                if (column + i >= columns) break;
                if (partial) partial[to] = sum[i];
                else c[to] = rounded(finished(row, column + i, sum[i], first ? 0 : value(c[to]), last));
            }
        } else if (partial) {
            Packet<acc, N> p;
#pragma unroll
            for (int i = 0; i < N; ++i) p.v[i] = sum[i];
            *reinterpret_cast<Packet<acc, N>*>(partial + at) = p;
        } else {
            Packet<real, N> p = {};
            if (!first) p = *reinterpret_cast<const Packet<real, N>*>(c + at);
#pragma unroll
            for (int i = 0; i < N; ++i)
                p.v[i] = rounded(finished(row, column + i, sum[i], first ? 0 : value(p.v[i]), last));
            *reinterpret_cast<Packet<real, N>*>(c + at) = p;
        }
    }
};

template <int BM, int BN, int BK, int TM, int TN> struct Product {
    static constexpr int TX = BN / TN, TY = BM / TM, THREADS = TX * TY;
    // a pitch with which neither packets of rows nor a column of single values collide in a bank
    static constexpr int PA = BM + (TM == 1 ? 2 : 4), PB = BN + (TN == 1 ? 2 : 4);
    typedef Loader<BM, BK, THREADS, PA> LoadA;
    typedef Loader<BN, BK, THREADS, PB> LoadB;

    static __device__ __forceinline__ void multiply(const acc* a, const acc* b, int x, int y,
                                                    acc (&sum)[TM][TN]) {
#pragma unroll
        for (int k = 0; k < BK; ++k) {
            acc u[TM], v[TN];
            Spread<TM, TY>::read(a + k * PA, y, u);
            Spread<TN, TX>::read(b + k * PB, x, v);
#pragma unroll
            for (int i = 0; i < TM; ++i)
#pragma unroll
                for (int j = 0; j < TN; ++j) sum[i][j] = fma(u[i], v[j], sum[i][j]);
        }
    }

    // sum = [from, end) of the reduction
    static __device__ void chain(const Operand& a, const Operand& b, Tile tile, int from, int end,
                                 acc (&sum)[TM][TN]) {
        __shared__ __align__(16) acc as[2][BK * PA], bs[2][BK * PB];
        const int x = threadIdx.x % TX, y = threadIdx.x / TX;
        LoadA left;
        LoadB right;
        __syncthreads();   // the chain before may still be reading
        left.load(a, tile.row * BM, from, end);
        right.load(b, tile.column * BN, from, end);
        left.store(a, as[0]);
        right.store(b, bs[0]);
        __syncthreads();
        for (int k = from, side = 0; k < end; k += BK, side ^= 1) {
            const bool more = k + BK < end;
            if (more) {
                left.load(a, tile.row * BM, k + BK, end);
                right.load(b, tile.column * BN, k + BK, end);
            }
            multiply(as[side], bs[side], x, y, sum);
            if (more) {
                left.store(a, as[side ^ 1]);
                right.store(b, bs[side ^ 1]);
            }
            __syncthreads();
        }
    }

    // Chains [first, stop) of one tile; `chains` of them make a result.
    static __device__ void run(const Operand& a, const Operand& b, const Result& c, Tile tile, int first,
                               int stop, int chains) {
        const int x = threadIdx.x % TX, y = threadIdx.x / TX;
        for (int i = first; i < stop; ++i) {
            acc sum[TM][TN] = {};
            chain(a, b, tile, i * CHAIN, min(a.depth, (i + 1) * CHAIN), sum);
            // else all addresses of C wait in registers
            const int top = opaque(tile.row * BM), left = opaque(tile.column * BN);
            constexpr int G = Spread<TN, TX>::G;
#pragma unroll
            for (int m = 0; m < TM; ++m)
#pragma unroll
                for (int n = 0; n < TN; n += G) {
                    acc some[G];
#pragma unroll
                    for (int j = 0; j < G; ++j) some[j] = sum[m][n + j];
                    c.write(top + Spread<TM, TY>::at(y, m), left + Spread<TN, TX>::at(x, n), some, i == 0,
                            i + 1 == chains);
                }
        }
    }

    // sizes: rows of C, columns, depth, batch. a_layout, b_layout: pitch, by_rows, packets, more
    // than one matrix. c_layout: row pitch, column pitch, row and column pitch of the bias, packets
    static __device__ void batch(const real* a, const real* b, const real* bias, real* c, acc* partial,
                                 const Dims& sizes, const Dims& a_layout, const Dims& b_layout,
                                 const Dims& c_layout) {
        const int m = sizes[0], n = sizes[1], depth = sizes[2], rows = ceil_div(m, BM),
                  columns = ceil_div(n, BN);
        const int chains = max(1, ceil_div(depth, CHAIN)), tiles = rows * columns,
                  splits = partial ? chains : 1;
        const int split = blockIdx.x / tiles % splits;
        const i64 product = blockIdx.x / tiles / splits, size = (i64)m * n;
        const Operand left{a + (a_layout[3] ? product * m * depth : 0),
                           m,
                           depth,
                           a_layout[0],
                           a_layout[1] != 0,
                           a_layout[2] != 0};
        const Operand right{b + (b_layout[3] ? product * n * depth : 0),
                            n,
                            depth,
                            b_layout[0],
                            b_layout[1] != 0,
                            b_layout[2] != 0};
        const Result result{c + product * size,
                            partial ? partial + (split * sizes[3] + product) * size : nullptr,
                            bias,
                            m,
                            n,
                            c_layout[0],
                            c_layout[1],
                            c_layout[2],
                            c_layout[3],
                            TN > 1 && c_layout[4] != 0};
        const Tile tile = tile_at(blockIdx.x % tiles, rows, columns);
        run(left, right, result, tile, partial ? split : 0, partial ? split + 1 : chains, chains);
    }
};

extern "C" {
__global__ void __launch_bounds__(256)
    gemm_128x128(const real* a, const real* b, const real* bias, real* c, acc* partial, Dims sizes,
                 Dims a_layout, Dims b_layout, Dims c_layout) {
    Product<128, 128, 8, 8, 8>::batch(a, b, bias, c, partial, sizes, a_layout, b_layout, c_layout);
}
__global__ void __launch_bounds__(128)
    gemm_64x64(const real* a, const real* b, const real* bias, real* c, acc* partial, Dims sizes,
               Dims a_layout, Dims b_layout, Dims c_layout) {
    Product<64, 64, 8, 8, 4>::batch(a, b, bias, c, partial, sizes, a_layout, b_layout, c_layout);
}
__global__ void __launch_bounds__(128)
    gemm_8x128(const real* a, const real* b, const real* bias, real* c, acc* partial, Dims sizes,
               Dims a_layout, Dims b_layout, Dims c_layout) {
    Product<8, 128, 64 / sizeof(acc), 8, 1>::batch(a, b, bias, c, partial, sizes, a_layout, b_layout,
                                                   c_layout);
}
// C of `size` values from the sums of `parts` pieces of the reduction, in order, and a bias along rows of n
__global__ void __launch_bounds__(256)
    gemm_join(const acc* partial, const real* bias, real* c, int parts, i64 size, int n) {
    for (GRID_STRIDE(i, size)) {
        acc sum = partial[i];
        for (int p = 1; p < parts; ++p) sum += partial[p * size + i];
        if (bias) sum += value(bias[i % n]);
        c[i] = rounded(activated(sum));
    }
}
}
