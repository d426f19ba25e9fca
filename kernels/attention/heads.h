// Where the matrices of a head lie, and its mask.
#pragma once
#include "kernel.h"
#include "lanes.h"
#include "simd_math.h"

BEGIN_KERNELS

static i64 least(i64 a, i64 b) { return a < b ? a : b; }
static i64 most(i64 a, i64 b) { return a < b ? b : a; }

// What the kernels' arguments say: `lead` are the sizes of the leading axes, the last of them
// heads; several query heads (`key_group`, `value_group`) may share one of keys and of values.
// Strides are those of the leading axes, then of rows (of the mask also of columns).
struct Layout {
    Dims lead, sizes;
    i64 queries() const { return sizes[0]; }
    i64 keys() const { return sizes[1]; }
    i64 features() const { return sizes[2]; }
    i64 values() const { return sizes[3]; }
    i64 key_group() const { return sizes[4]; }
    i64 value_group() const { return sizes[5]; }
    i64 heads() const {
        i64 n = 1;
        for (int a = 0; a < lead.n; ++a) n *= lead[a];
        return n;
    }
    template <class T> const T* at(const T* data, const Dims& strides, i64 head, i64 group = 1) const {
        if (!data) return nullptr;
        for (int a = lead.n - 1; a >= 0; --a, group = 1) {
            data += head % lead[a] / group * strides[a];
            head /= lead[a];
        }
        return data;
    }
    i64 row(const Dims& strides) const { return strides[lead.n]; }
};

// What a query sees instead of all keys, and what is added by distance: begin and end (null: the first
// and the last key) with strides of the leading axes and of queries, and a number for each distance,
// `distance` key - query + queries - 1, with strides of the leading axes.
struct Within {
    const i64 *begin = nullptr, *end = nullptr;
    Dims span_strides{};
    const real* distance = nullptr;
    Dims distance_strides{};
};

// The keys that each query of a head sees
struct Seen {
    const i64 *begin, *end;
    i64 step, keys;
    bool causal;
    Seen(const Layout& at, const Within& within, bool causal, i64 head)
        : begin(place(at, within.begin, within.span_strides, head)),
          end(place(at, within.end, within.span_strides, head)), step(within.span_strides[at.lead.n]), keys(at.keys()),
          causal(causal) {}
    bool all() const { return !begin && !end && !causal; }
    i64 from(i64 query) const { return begin ? most(0, least(keys, read_once(begin + query * step))) : 0; }
    i64 to(i64 query) const {
        const i64 last = end ? most(0, least(keys, read_once(end + query * step))) : keys;
        return causal ? least(last, query + 1) : last;
    }

private:
    static const i64* place(const Layout& at, const i64* data, const Dims& strides, i64 head) {
        if (!data) return nullptr;
        for (int a = at.lead.n - 1; a >= 0; --a) {
            data += head % at.lead[a] * strides[a];
            head /= at.lead[a];
        }
        return data;
    }
};

// The mask of one head
struct Mask {
    const real* data;
    i64 query, key;   // strides
    const real* distance;   // of query 0 and key 0
    Mask(const Layout& at, In<real> mask, const Dims& strides, i64 head, const Within& within)
        : data(at.at(mask.data, strides, head)), query(strides[at.lead.n]), key(strides[at.lead.n + 1]),
          distance(at.at(within.distance, within.distance_strides, head)) {
        if (distance) distance += at.queries() - 1;
    }
    explicit operator bool() const { return data || distance; }
    // Of `lanes` neighbouring keys of one query, or of neighbouring queries of one key
    template <class Lanes> V along(const real* from, i64 step, Lanes lanes) const {
        return step == 1   ? lanes.load(from)
               : step == 0 ? splat(*from)
                           : load_strided(from, step, lanes.count);
    }
    template <class Lanes> V keys(i64 q, i64 k, Lanes lanes) const {
        const V masked = data ? along(data + q * query + k * key, key, lanes) : V{};
        return distance ? masked + lanes.load(distance + k - q) : masked;
    }
    template <class Lanes> V queries(i64 q, i64 k, Lanes lanes) const {
        const V masked = data ? along(data + q * query + k * key, query, lanes) : V{};
        return distance ? masked + load_strided(distance + k - q, -1, lanes.count) : masked;
    }
};

static real hmax(V v) {
    real best = v[0];
    for (int i = 1; i < LANES; ++i) best = best < v[i] ? v[i] : best;
    return best;
}

// Blocks as equal as can be
struct Blocks {
    i64 n, count;
    Blocks(i64 n, i64 size) : n(n), count((n + size - 1) / size) {}
    i64 begin(i64 i) const { return n * i / count; }
};

END_KERNELS
