// Gaussian filters of many dimensions on the permutohedral lattice: Adams, Baek & Davis, "Fast
// High-Dimensional Filtering Using the Permutohedral Lattice" (2010).
//
// A point of d features lies in a simplex of d + 1 vertices of the lattice A*_d, whose coordinates
// are d + 1 whole numbers of sum 0, congruent modulo d + 1. Its value goes to them by barycentric
// weights (splat), each vertex takes a quarter of either neighbour along each of d + 1 axes (blur),
// and a point reads its vertices by the same weights (slice). Vertices that no point touches are
// not there.
//
// Vertices are numbered in the order in which points come to them, and a vertex adds its points in
// their order, so that nothing depends on threads.
#include <cmath>
#include <limits>
#include "indices.h"
#include "kernel.h"

BEGIN_KERNELS
namespace {
constexpr i64 MOST = 16;   // features
constexpr i64 FIRST_VERTICES = 4096;   // that a table begins with

// Vertices by their coordinates, all but the last one (which the others imply). It grows with them:
// there are far fewer than corners of simplices, and what is small stays in cache.
class Table {
public:
    Table(const i64* keys, i64 d, i64 most)
        : keys(keys), d(d) { empty(size_for(most)); }
    ~Table() { delete[] slots; }
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;
    // The slot in which the key is, or where it would be put.
    i64& slot(const i64* key) {
        std::uint64_t hash = 0;
        for (i64 i = 0; i < d; ++i) hash = (hash + (std::uint64_t)key[i]) * 0x9E3779B97F4A7C15ull;
        for (i64 at = (i64)(hash >> 20) & mask;; at = (at + 1) & mask) {
            if (slots[at] < 0) return slots[at];
            const i64* held = keys + slots[at] * d;
            i64 i = 0;
            while (i < d && held[i] == key[i]) ++i;
            if (i == d) return slots[at];
        }
    }

    // Room for one more than `count` vertices, which have the first keys.
    void make_room(i64 count) {
        if (2 * count < mask) return;
        empty(2 * (mask + 1));
        for (i64 v = 0; v < count; ++v) slot(keys + v * d) = v;
    }

private:
    static i64 size_for(i64 most) {
        i64 size = 16;
        while (size < 2 * most) size *= 2;
        return size;
    }
    // `size` slots, a power of two, without a vertex
    void empty(i64 size) {
        delete[] std::exchange(slots, nullptr);
        slots = new i64[size];
        for (i64 i = 0; i < size; ++i) slots[i] = -1;
        mask = size - 1;
    }
    const i64* keys;
    const i64  d;
    i64*       slots = nullptr;   // no std::vector, whose functions the sets of instructions would share
    i64        mask = 0;
};

// The simplex around a point.
struct Simplex {
    i64  base[MOST + 1];    // the vertex of remainder 0
    int  rank[MOST + 1];    // of each coordinate among the differences from it, the largest first
    real weight[MOST + 2];

    // features scaled to the lattice (section 4.2 of the paper), and the nearest point of remainder 0
    void find(const real* f, i64 d, const real* scale) {
        real x[MOST + 1];
        real sum = 0;
        for (i64 i = d; i > 0; --i) {
            const real scaled = f[i - 1] * scale[i - 1];
            x[i] = sum - real(i) * scaled;
            sum += scaled;
        }
        x[0] = sum;
        i64 total = 0;
        for (i64 i = 0; i <= d; ++i) {
            const real cells = x[i] / real(d + 1), low = __builtin_floor(cells),
                       nearest = cells - low < real(0.5) ? low : low + 1;
            base[i] = (i64)nearest * (d + 1);
            total += (i64)nearest;
        }
        for (i64 i = 0; i <= d; ++i) rank[i] = 0;
        for (i64 i = 0; i < d; ++i)
            for (i64 j = i + 1; j <= d; ++j)
                ++rank[x[i] - real(base[i]) < x[j] - real(base[j]) ? i : j];
        // back to the plane of sum 0: the coordinates that were rounded the furthest go the other way
        for (i64 i = 0; i <= d; ++i) {
            rank[i] += (int)total;
            if (rank[i] < 0) rank[i] += (int)(d + 1), base[i] += d + 1;
            else if (rank[i] > d) rank[i] -= (int)(d + 1), base[i] -= d + 1;
        }
        for (i64 i = 0; i <= d + 1; ++i) weight[i] = 0;
        for (i64 i = 0; i <= d; ++i) {
            const real share = (x[i] - real(base[i])) / real(d + 1);
            weight[d - rank[i]] += share;
            weight[d + 1 - rank[i]] -= share;
        }
        weight[0] += 1 + weight[d + 1];
    }

    bool same(const Simplex& other, i64 d) const {
        for (i64 i = 0; i <= d; ++i)
            if (base[i] != other.base[i] || rank[i] != other.rank[i]) return false;
        return true;
    }

    // the first d coordinates of the vertex of a remainder
    void key(i64 d, i64 remainder, i64* to) const {
        for (i64 i = 0; i < d; ++i)
            to[i] = base[i] + (rank[i] <= d - remainder ? remainder : remainder - (d + 1));
    }
};
}  // namespace

// Points are dealt out in pieces of whole runs, a thread each.
static i64 pieces_of(i64 n) {
    const i64 useful = n / 2048, threads = threads_now() < MOST_THREADS ? threads_now() : MOST_THREADS;
    return useful < 1 ? 1 : useful < threads ? useful : threads;
}

// Finds the simplices of `points` points and numbers their vertices in the order in which they come.
// Returns how many these are; their keys are the first ones of `keys`.
static i64 number_vertices(const real* features, i64 points, i64 d, const real* scale, i64* places,
                           real* weights, i64* keys) {
    Table table(keys, d, FIRST_VERTICES);
    Simplex s[2];
    i64 vertices = 0;
    for (i64 p = 0; p < points; ++p) {
        Simplex &here = s[p % 2], &last = s[(p + 1) % 2];
        here.find(features + p * d, d, scale);
        i64* at = places + p * (d + 1);
        // neighbours in an image often share a simplex
        const bool same = p > 0 && here.same(last, d);
        for (i64 r = 0; r <= d; ++r) {
            weights[p * (d + 1) + r] = here.weight[r];
            if (same) {
                at[r] = at[r - d - 1];
                continue;
            }
            table.make_room(vertices);
            i64* key = keys + vertices * d;
            here.key(d, r, key);
            i64& slot = table.slot(key);
            if (slot < 0) slot = vertices++;
            at[r] = slot;
        }
    }
    return vertices;
}

void lattice_build(In<real> features, Out<i64> places, Out<real> weights, Out<i64> keys, Out<i64> count) {
    const i64 n = features.dim(0), d = features.dim(1), corners = d + 1, pieces = pieces_of(n);
    real scale[MOST];   // so that 1 2 1 along each axis is a Gaussian of deviation 1
    for (i64 i = 0; i < d; ++i)
        scale[i] = real((d + 1) * __builtin_sqrt(2. / 3 / double((i + 1) * (i + 2))));
    const auto first = [=](i64 piece) { return n * piece / pieces; };
    i64 found[MOST_THREADS];
    parallel_for(pieces, 1, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const i64 p = first(i);
            found[i] = number_vertices(features.data + p * d, first(i + 1) - p, d, scale, places.data + p * corners,
                                       weights.data + p * corners, keys.data + p * corners * d);
        }
    });
    i64 vertices = found[0], later = 0;
    for (i64 i = 1; i < pieces; ++i) later += found[i];
    count.data[0] = vertices;
    if (later == 0) return;
    // Those of later pieces join them in their order, which is the order without pieces.
    Table table(keys.data, d, vertices + later);
    for (i64 v = 0; v < vertices; ++v) table.slot(keys.data + v * d) = v;
    Scratch<i64> number(later);
    i64 starts[MOST_THREADS], at = 0, key[MOST];
    for (i64 i = 1; i < pieces; ++i) {
        starts[i] = at;
        for (i64 v = 0; v < found[i]; ++v) {
            for (i64 k = 0; k < d; ++k) key[k] = keys.data[(first(i) * corners + v) * d + k];
            i64& slot = table.slot(key);
            if (slot < 0) {
                for (i64 k = 0; k < d; ++k) keys.data[vertices * d + k] = key[k];
                slot = vertices++;
            }
            number[at++] = slot;
        }
    }
    count.data[0] = vertices;
    parallel_for(pieces - 1, 1, [&](i64 begin, i64 end) {
        for (i64 i = begin + 1; i < end + 1; ++i)
            for (i64 c = first(i) * corners; c < first(i + 1) * corners; ++c)
                places.data[c] = number[starts[i] + places.data[c]];
    });
}

void lattice_neighbours(In<i64> keys, Out<i64> neighbours) {
    const i64 m = keys.dim(0), d = keys.dim(1);
    Table table(keys.data, d, m);
    for (i64 v = 0; v < m; ++v) table.slot(keys.data + v * d) = v;
    parallel_for(m, 256, [&](i64 begin, i64 end) {
        i64 key[MOST];
        for (i64 v = begin; v < end; ++v)
            for (i64 axis = 0; axis <= d; ++axis)
                for (int side = 0; side < 2; ++side) {
                    const i64 step = side ? -1 : 1;
                    for (i64 k = 0; k < d; ++k) key[k] = keys.data[v * d + k] + step;
                    if (axis < d) key[axis] -= step * (d + 1);
                    neighbours.data[(v * (d + 1) + axis) * 2 + side] = table.slot(key);
                }
    });
}

void lattice_members(In<i64> places, In<real> weights, Out<i64> starts, Out<i64> points, Out<real> splat) {
    const i64 n = places.dim(0), corners = places.dim(1), m = starts.size() - 1, pieces = pieces_of(n);
    Scratch<i64> next(pieces * m);   // where each piece puts its next point of a vertex
    const auto for_corners = [&](auto body) {
        parallel_for(pieces, 1, [&](i64 begin, i64 end) {
            for (i64 piece = begin; piece < end; ++piece)
                for (i64 p = n * piece / pieces; p < n * (piece + 1) / pieces; ++p)
                    for (i64 i = p * corners; i < (p + 1) * corners; ++i) body(next + piece * m, p, i);
        });
    };
    for (i64 i = 0; i < pieces * m; ++i) next[i] = 0;
    for_corners([&](i64* counts, i64, i64 i) { ++counts[place_of(places.data + i, m, false)]; });
    i64 sum = 0;
    for (i64 v = 0; v < m; ++v) {
        starts.data[v] = sum;
        for (i64 i = v; i < pieces * m; i += m) sum += std::exchange(next[i], sum);
    }
    starts.data[m] = sum;
    for_corners([&](i64* at, i64 p, i64 i) {
        const i64 to    = at[places.data[i]]++;
        points.data[to] = p;
        splat.data[to]  = weights.data[i];
    });
}

// What a filter is made of; base: what is added to the result, which may be the result itself, or
// nothing; `reverse`: axes are blurred from the last to the first, so that the result is that of the
// transposed filter.
struct Filter {
    In<real> values;
    In<i64>  starts, points;
    In<real> splat;
    In<i64>  neighbours, places;
    In<real> slice, base;
    bool     reverse;
};

static void run(const Filter& f, Out<real> y) {
    const auto& [values, starts, points, splat, neighbours, places, slice, base, reverse] = f;
    const i64 n = values.dim(0), c = values.dim(1), corners = places.dim(1), m = starts.size() - 1;
    // a vertex's values fill whole vectors; one more vertex of zeros stands for those that are not there
    const i64 row = (c + LANES - 1) / LANES * LANES;
    Scratch<real> front((m + 1) * row), back((m + 1) * row);
    real *from = front, *to = back;
    const auto zero = [&](real* r) {
        for (i64 k = 0; k < row; k += LANES) store(r + k, V{});
    };
    zero(from + m * row);
    zero(to + m * row);
    parallel_for(m, 64, [&](i64 begin, i64 end) {
        for (i64 v = begin; v < end; ++v) {
            real* sum = from + v * row;
            zero(sum);
            for_vectors(c, [&](i64 k, auto lanes) {
                V all{};
                for (i64 i = starts.data[v]; i < starts.data[v + 1]; ++i)
                    all += splat.data[i] * lanes.load(values.data + points.data[i] * c + k);
                lanes.store(sum + k, all);
            });
        }
    });
    for (i64 step = 0; step < corners; ++step) {
        const i64 axis = reverse ? corners - 1 - step : step;
        parallel_for(m, 128, [&](i64 begin, i64 end) {
            for (i64 v = begin; v < end; ++v) {
                const i64* side = neighbours.data + (v * corners + axis) * 2;
                const real *one = from + (side[0] < 0 ? m : side[0]) * row,
                           *other = from + (side[1] < 0 ? m : side[1]) * row;
                for (i64 k = 0; k < row; k += LANES)
                    store(to + v * row + k,
                          real(0.5) * load(from + v * row + k) + real(0.25) * (load(one + k) + load(other + k)));
            }
        });
        real* other = from;
        from = to;
        to = other;
    }
    parallel_for(n, 128, [&](i64 begin, i64 end) {
        for (i64 p = begin; p < end; ++p)
            for_vectors(c, [&](i64 k, auto lanes) {
                V sum = base.size() ? lanes.load(base.data + p * c + k) : V{};
                for (i64 r = 0; r < corners; ++r)
                    sum += slice.data[p * corners + r] * lanes.load(from + places.data[p * corners + r] * row + k);
                lanes.store(y.data + p * c + k, sum);
            });
    });
}

void lattice_filter(In<real> values, In<i64> starts, In<i64> points, In<real> splat, In<i64> neighbours,
                    In<i64> places, In<real> slice, In<real> base, Out<real> y) {
    run({values, starts, points, splat, neighbours, places, slice, base, false}, y);
}

// An array of the call's own, with its shape.
template <class T> struct Own {
    i64        shape[3];
    Scratch<T> data;
    int        ndim;
    Own(i64 a, i64 b = 1, i64 c = 1, int ndim = 2) : shape{a, b, c}, data(a * b * c), ndim(ndim) {}
    operator In<T>() const { return {data, shape, ndim}; }
    Out<T> out() { return {data, shape, ndim}; }
};

constexpr real FARTHEST = 1 << 20;   // of a feature: beyond it float has no whole numbers of the lattice

// A point whose features are NaN or too far out is nobody's neighbour, and its result NaN.
void permutohedral(In<real> features, In<real> values, bool reverse, Out<real> y) {
    const i64 n = features.dim(0), d = features.dim(1), c = values.dim(1);
    if (n == 0 || c == 0) return;
    Own<real> near(n, d), weights(n, d + 1), splat(n * (d + 1), 1, 1, 1);
    Own<i64>  places(n, d + 1), keys(n * (d + 1), d), count(1, 1, 1, 1), points(n * (d + 1), 1, 1, 1);
    const auto lost = [&](i64 p) {
        for (i64 i = 0; i < d; ++i)
            if (!(std::abs(features.data[p * d + i]) <= FARTHEST)) return true;
        return false;
    };
    for (i64 p = 0; p < n; ++p)
        for (i64 i = 0; i < d; ++i) near.data[p * d + i] = lost(p) ? 0 : features.data[p * d + i];
    lattice_build(near, places.out(), weights.out(), keys.out(), count.out());
    i64 missing = 0;
    for (i64 p = 0; p < n; ++p)
        if (lost(p)) {
            ++missing;
            for (i64 i = 0; i <= d; ++i) weights.data[p * (d + 1) + i] = 0;
        }
    Own<real> kept(missing ? n : 0, c);   // without their values, which may be NaN as well
    for (i64 p = 0; missing && p < n; ++p)
        for (i64 k = 0; k < c; ++k) kept.data[p * c + k] = lost(p) ? 0 : values.data[p * c + k];
    const i64 m = count.data[0];
    keys.shape[0] = m;
    Own<i64> neighbours(m, d + 1, 2, 3), starts(m + 1, 1, 1, 1);
    lattice_neighbours(keys, neighbours.out());
    lattice_members(places, weights, starts.out(), points.out(), splat.out());
    const In<real> given = missing ? In<real>(kept) : values;
    const i64      none[2] = {0, c};
    const In<real> base{nullptr, none, 2};
    run({given, starts, points, splat, neighbours, places, weights, base, reverse}, y);
    for (i64 p = 0; p < n; ++p)
        if (lost(p))
            for (i64 k = 0; k < c; ++k) y.data[p * c + k] = std::numeric_limits<real>::quiet_NaN();
}
END_KERNELS
