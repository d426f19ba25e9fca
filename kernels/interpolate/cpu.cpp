// resample: every mode of interpolate and its gradient is a table of taps per axis (reference.py),
// output o = sum over k of weight[k][o] x[index[k][o]]; index -1 is a tap that this output lacks.
// The gradient's tables are the transposed ones, so that it gathers too: no two threads meet, and
// the order of a sum is the table's.
//
// The height and depth passes combine whole rows. The width pass reads, for one vector of outputs
// and one tap, one or two vectors of the row and permutes them by a prepared table; where the taps
// of a vector lie further apart it picks lanes one by one. A growing height does the width pass
// first, once a source row, and keeps the latest rows in a ring as long as the tallest window; a
// shrinking one combines rows first.
#include "kernel.h"

BEGIN_KERNELS

struct Taps {
    const i64*  index;
    const real* weight;
    i64         count, outputs;
    Taps(In<i64> i, In<real> w, i64 size)
        : index(i.data), weight(w.data), count(i ? i.dim(0) : 1), outputs(i ? i.dim(1) : size) {}
    explicit operator bool() const { return index != nullptr; }
};

static i64 most(i64 a, i64 b) { return a > b ? a : b; }

// ---- width

struct Width {
    // how many vectors of the row hold what one tap of one vector of outputs reads
    enum Reach { ONE, TWO, SCATTERED };
    const Taps taps;
    const i64  width, blocks;
    Reach      reach  = ONE;
    bool       ragged = false;
    // For each block of LANES outputs, for each tap: where to load from, and per lane the index
    // from there and the weight.
    Scratch<i64>      base;
    Scratch<lane_int> lane;
    Scratch<real>     weight;

    Width(const Taps& taps, i64 width)
        : taps(taps), width(width), blocks((taps.outputs + LANES - 1) / LANES),
          base(taps ? blocks * taps.count : 1), lane(taps ? blocks * taps.count * LANES : 1),
          weight(taps ? blocks * taps.count * LANES : 1) {
        if (!taps) return;
        for (i64 b = 0; b < blocks; ++b)
            for (i64 k = 0; k < taps.count; ++k) place(b, k);
        if (reach == SCATTERED) return;
        const i64 end = most(width, padded()) - (reach + 1) * LANES;   // a load must not begin behind this
        for (i64 t = 0; t < blocks * taps.count; ++t) {
            if (base[t] > end) base[t] = end;
            for (int i = 0; i < LANES; ++i)
                if (lane[t * LANES + i] >= 0) lane[t * LANES + i] -= (lane_int)base[t];
        }
    }

    // Fills block b of tap k with indices from the row's start.
    void place(i64 b, i64 k) {
        const i64 t = b * taps.count + k;
        i64 low = width, high = -1;
        for (int i = 0; i < LANES; ++i) {
            const i64 o = b * LANES + i, at = o < taps.outputs ? taps.index[k * taps.outputs + o] : -1;
            lane[t * LANES + i]   = (lane_int)at;
            weight[t * LANES + i] = at < 0 ? 0 : taps.weight[k * taps.outputs + o];
            if (at < 0 && o < taps.outputs) ragged = true;
            if (at < 0) continue;
            if (at < low) low = at;
            if (at > high) high = at;
        }
        base[t] = high < 0 ? 0 : low;
        const i64 span = high < 0 ? 0 : high - low;
        const Reach needed = span < LANES ? ONE : span < 2 * LANES ? TWO : SCATTERED;
        if (needed > reach) reach = needed;
    }

    // A row shorter than this must be copied to a place with this much room.
    i64 padded() const { return reach == SCATTERED ? 0 : (reach + 1) * LANES; }

    template <Reach reach, bool ragged> void run(const real* row, real* y) const {
        const i64 count = taps.count;
        for (i64 b = 0; b < blocks; ++b) {
            V sum{};
            for (i64 k = 0; k < count; ++k) {
                const i64 t = b * count + k;
                M at;
                std::memcpy(&at, lane + t * LANES, sizeof at);
                V v;
                if constexpr (reach == SCATTERED) {
                    for (int i = 0; i < LANES; ++i) v[i] = row[at[i] < 0 ? 0 : at[i]];
                } else if constexpr (reach == TWO) {
                    v = __builtin_shuffle(load(row + base[t]), load(row + base[t] + LANES), at);
                } else {
                    v = __builtin_shuffle(load(row + base[t]), at);
                }
                if (ragged) v = at < 0 ? V{} : v;
                v *= load(weight + t * LANES);
                sum = k ? sum + v : v;
            }
            const i64 left = taps.outputs - b * LANES;
            if (left >= LANES) store(y + b * LANES, sum);
            else store(y + b * LANES, sum, (int)left);
        }
    }

    // `room` has place for padded() values.
    void apply(const real* row, real* room, real* y) const {
        if (width < padded()) {
            for_vectors(width, [&](i64 i, auto lanes) { lanes.store(room + i, lanes.load(row + i)); });
            row = room;
        }
        switch (reach) {
            case ONE: return ragged ? run<ONE, true>(row, y) : run<ONE, false>(row, y);
            case TWO: return ragged ? run<TWO, true>(row, y) : run<TWO, false>(row, y);
            default: return ragged ? run<SCATTERED, true>(row, y) : run<SCATTERED, false>(row, y);
        }
    }
};

// ---- height and depth

// A weighted sum of rows; N rows, or any number for N = 0.
template <int N> static void combine(const real* const* rows, const real* w, i64 any, i64 width, real* y) {
    const i64 count = N ? N : any;
    for_vectors(width, [&](i64 i, auto lanes) {
        V sum = lanes.load(rows[0] + i) * w[0];
        for (i64 k = 1; k < count; ++k) sum += lanes.load(rows[k] + i) * w[k];
        lanes.store(y + i, sum);
    });
}

struct Rows {
    Scratch<const real*> row;
    Scratch<real>        weight;
    i64                  count = 0;
    explicit Rows(i64 most) : row(most), weight(most) {}
    void add(const real* r, real w) {
        row[count] = r;
        weight[count++] = w;
    }
    bool one() const { return count == 1 && weight[0] == 1; }
    void sum(i64 width, real* y) const {
        switch (count) {
            case 0: for_vectors(width, [&](i64 i, auto lanes) { lanes.store(y + i, V{}); }); return;
            case 1: return combine<1>(row, weight, 1, width, y);
            case 2: return combine<2>(row, weight, 2, width, y);
            case 4: return combine<4>(row, weight, 4, width, y);
            default: return combine<0>(row, weight, count, width, y);
        }
    }
};

// Calls body(index, weight) for the taps that output o has.
template <class Body> static void for_taps(const Taps& taps, i64 o, Body body) {
    if (!taps) return body(o, real(1));
    for (i64 k = 0; k < taps.count; ++k)
        if (const i64 i = taps.index[k * taps.outputs + o]; i >= 0)
            body(i, taps.weight[k * taps.outputs + o]);
}

struct Volume {
    const real* x;
    i64 depth, height, width;
    Taps along_depth, along_height;
    const Width& across;
};

// One output row: rows are combined over depth and height, then resampled across.
static void rows_first(const Volume& v, const real* plane, i64 d, i64 h, Rows& rows, real* line, real* room,
                       real* y) {
    rows.count = 0;
    for_taps(v.along_depth, d, [&](i64 di, real dw) {
        for_taps(v.along_height, h,
                 [&](i64 hi, real hw) { rows.add(plane + (di * v.height + hi) * v.width, dw * hw); });
    });
    if (!v.across.taps) return rows.sum(v.width, y);
    if (rows.one()) return v.across.apply(rows.row[0], room, y);
    rows.sum(v.width, line);
    v.across.apply(line, room, y);
}

// The same with the width first. Source row s of (plane, output depth) `slab` is kept at s modulo
// the height's taps: the rows of one window follow each other, so they never meet there.
struct Ring {
    Scratch<real> rows;
    Scratch<i64>  holds;
    const i64     slots, width;
    Ring(i64 slots, i64 width) : rows(slots * width), holds(slots), slots(slots), width(width) {
        for (i64 s = 0; s < slots; ++s) holds[s] = -1;
    }
    template <class Make> const real* get(i64 slab, i64 s, i64 height, Make make) {
        real*     row  = rows + s % slots * width;
        const i64 name = slab * height + s;
        if (holds[s % slots] != name) {
            holds[s % slots] = name;
            make(row);
        }
        return row;
    }
};

static void width_first(const Volume& v, const real* plane, i64 slab, i64 d, i64 h, Rows& rows, Rows& deep,
                        Ring& ring, real* line, real* room, real* y) {
    rows.count = 0;
    for_taps(v.along_height, h, [&](i64 hi, real hw) {
        rows.add(ring.get(slab, hi, v.height, [&](real* to) {
            deep.count = 0;
            for_taps(v.along_depth, d,
                     [&](i64 di, real dw) { deep.add(plane + (di * v.height + hi) * v.width, dw); });
            if (deep.one()) return v.across.apply(deep.row[0], room, to);
            deep.sum(v.width, line);
            v.across.apply(line, room, to);
        }), hw);
    });
    rows.sum(v.across.taps.outputs, y);
}

// x: (planes, D, H, W); y: (planes, D', H', W'). An axis without a table stays as it is.
void resample(In<real> x, In<i64> index_d, In<real> weight_d, In<i64> index_h, In<real> weight_h,
              In<i64> index_w, In<real> weight_w, Out<real> y) {
    if (y.size() == 0) return;
    const Width  across(Taps(index_w, weight_w, x.dim(3)), x.dim(3));
    const Volume v{x.data,
                   x.dim(1),
                   x.dim(2),
                   x.dim(3),
                   Taps(index_d, weight_d, x.dim(1)),
                   Taps(index_h, weight_h, x.dim(2)),
                   across};
    const i64    depth = y.dim(1), height = y.dim(2), width = y.dim(3);
    const bool   first = across.taps && v.along_height && height > v.height;
    const i64 most_rows = v.along_depth.count * v.along_height.count,
              work = width * (v.along_height.count + across.taps.count);
    parallel_for(y.dim(0) * depth * height, 1 + 32768 / (work + 1), [&](i64 begin, i64 end) {
        Rows rows(most_rows), deep(first ? v.along_depth.count : 1);
        Ring ring(first ? v.along_height.count : 1, first ? width : 1);
        Scratch<real> line(most(v.width, 2 * LANES)), room(2 * LANES);
        for_vectors(2 * LANES, [&](i64 i, auto lanes) { lanes.store(room + i, V{}); });
        for (i64 r = begin; r < end; ++r) {
            const i64   slab = r / height, d = slab % depth, h = r % height;
            const real* plane = v.x + slab / depth * v.depth * v.height * v.width;
            if (first) width_first(v, plane, slab, d, h, rows, deep, ring, line, room, y.data + r * width);
            else rows_first(v, plane, d, h, rows, line, room, y.data + r * width);
        }
    });
}

END_KERNELS
