// The gradient of a recurrent layer: back through time, then the input's gradient as one product.
//
// Gates and cell states of every step were kept. A step from behind computes dh, the sum of dy and
// of what the step after it sends back, dgates_(s+1) W_hh, and from that its own dgates, which need
// dh of the same units only. So a thread that owns a range of units computes both, and threads meet
// once a step, as in forward.cpp. dgates lie as gates do; the weights' gradients are products of
// all of them (weight_gradient.cpp).
#include "cell.h"
#include "multiply.h"
#include "phases.h"

BEGIN_KERNELS

namespace {
struct Backward {
    const Sizes&           z;
    const Order&           order;
    const PackedTransposed at{z};
    // peephole: (directions, 3, hidden)
    const real *dy, *dh_n, *dc_n, *h0, *c0, *y, *gates, *cells, *packed, *peephole, *zeros;
    real *dgates, *dprojected;   // dprojected: dh behind the projection, (directions, rows, padded outputs)

    const real* weights(i64 direction) const { return packed + direction * at.size; }
    i64 width() const { return z.directions * z.outputs; }
    i64 padded_outputs() const { return blocks_of(z.outputs, PANEL) * PANEL; }
    i64 padded_units() const { return blocks_of(z.hidden, PANEL) * PANEL; }
    i64 state(i64 direction, i64 q) const { return direction * z.samples + order.sample[q]; }
    i64 row(i64 direction, i64 s, i64 q) const { return direction * order.rows() + order.row(s, q); }
    i64 y_at(i64 direction, i64 s, i64 q) const {
        return order.place(direction, s, q) * width() + direction * z.outputs;
    }
};

// Of a strand's samples: gradients on their way from one step to the one before it
struct BackwardMemory {
    real *dh;   // (samples, padded units): of h, or with a projection of what is projected
    real *dc;   // of the cell state
    real *c0;   // the first cell state, padded
};

// The slopes of one vector of units
struct LstmSlopes {
    V di, df, dg, d_o, dc;
    LstmSlopes(const real* gates, V before, V now, V dh, V dc_now, const real* peep, i64 stride, int n) {
        const V i = load(gates), f = load(gates + BLOCK), g = load(gates + 2 * BLOCK),
                o = load(gates + 3 * BLOCK), t = gate_tanh(now);
        d_o = dh * t * (o * (1 - o));
        dc  = dc_now + dh * o * (1 - t * t);
        if (peep) dc += d_o * load_some(peep + 2 * stride, n);
        di = dc * g * (i * (1 - i));
        df = dc * before * (f * (1 - f));
        dg = dc * i * (1 - g * g);
        dc = dc * f;
        if (peep) dc += di * load_some(peep, n) + df * load_some(peep + stride, n);
    }
};

struct BackwardRun {
    const Backward&      b;
    const Strand         strand;
    const BackwardMemory m;
    i64 samples() const { return strand.count(b.order, 0); }

    // dh of all rows of iteration s at units [64 p0, 64 p1), without what later steps send back: into `to`
    void gather(i64 s, i64 p0, i64 p1, real* const* to, bool carries) const {
        const Sizes& z = b.z;
        const i64 first = p0 * PANEL, end = least(p1 * PANEL, z.outputs), rows = strand.count(b.order, s);
        for (i64 i = 0; i < rows; ++i) {
            const i64   q = strand.q(i);
            const bool  last = s + 1 == b.order.length[q];
            const real *dy = b.dy ? b.dy + b.y_at(strand.direction, s, q) : b.zeros,
                       *from = !last    ? nullptr
                               : b.dh_n ? b.dh_n + b.state(strand.direction, q) * z.outputs
                                        : nullptr;
            for (i64 u = first; u < end; u += LANES) {
                const int n = lanes_of(end - u);
                V sum = load_some(dy + u, n);
                if (from) sum += load_some(from + u, n);
                if (!last && carries) sum += load(to[i] + u);
                store(to[i] + u, sum);
            }
            if (end < p1 * PANEL) {
                const i64 from_lane = first + (end - first + LANES - 1) / LANES * LANES;
                if (from_lane < p1 * PANEL)
                    std::memset(to[i] + from_lane, 0, (p1 * PANEL - from_lane) * sizeof(real));
            }
        }
    }
    // += what iteration s + 1 sends back
    void send_back(i64 s, i64 p0, i64 p1, real* const* to) const {
        const Sizes& z = b.z;
        const i64 rows = s + 1 < b.order.iterations() ? strand.count(b.order, s + 1) : 0,
                  depth = z.panels() * z.width() * BLOCK;
        if (rows == 0) return;
        Scratch<const real*> from(rows);
        for (i64 i = 0; i < rows; ++i)
            from[i] = b.dgates + b.row(strand.direction, s + 1, strand.q(i)) * z.pitch() +
                      z.recurrent_slot() * BLOCK;
        const Depth d = z.width() == 4 ? Depth{1, depth, 0} : Depth{z.panels(), 3 * BLOCK, PANEL};
        multiply(4, rows, d, from, b.weights(strand.direction) + b.at.recurrent + p0 * depth * PANEL,
                 depth * PANEL, p1 - p0, to, p0 * PANEL, nullptr);
    }

    void outputs_step(i64 s, i64 p0, i64 p1) const {   // with a projection: dh
        const i64 rows = strand.count(b.order, s);
        if (rows == 0 || p0 == p1) return;
        Scratch<real*> to(rows);
        for (i64 i = 0; i < rows; ++i)
            to[i] = b.dprojected + b.row(strand.direction, s, strand.q(i)) * b.padded_outputs();
        gather(s, p0, p1, to, false);
        send_back(s, p0, p1, to);
    }

    void step(i64 s, i64 p0, i64 p1) const {
        const Sizes& z = b.z;
        const i64 rows = strand.count(b.order, s);
        if (rows == 0 || p0 == p1) return;
        Scratch<real*> to(rows);
        for (i64 i = 0; i < rows; ++i) to[i] = m.dh + i * b.padded_units();
        if (z.projected()) {
            Scratch<const real*> from(rows);
            for (i64 i = 0; i < rows; ++i)
                from[i] = b.dprojected + b.row(strand.direction, s, strand.q(i)) * b.padded_outputs();
            const i64 size = z.outputs * PANEL;
            multiply(4, rows, {1, z.outputs, 0}, from,
                     b.weights(strand.direction) + b.at.projection + p0 * size, size, p1 - p0, to, p0 * PANEL,
                     b.zeros);
        } else {
            gather(s, p0, p1, to, z.cell == GRU);
            send_back(s, p0, p1, to);
        }
        for (i64 i = 0; i < rows; ++i)
            for (i64 u = p0 * PANEL; u < p1 * PANEL && u < z.units(); u += LANES) slopes(s, i, u, to[i] + u);
    }

    // dgates of the units [u, u + LANES) from their dh
    void slopes(i64 s, i64 i, i64 u, real* dh) const {
        const Sizes& z = b.z;
        const i64 q = strand.q(i), row = b.row(strand.direction, s, q);
        const int n = lanes_of(z.hidden - u);
        const i64 at = row * z.pitch() + (z.gated() ? u / BLOCK * PANEL + u % BLOCK : u);
        const real* g = b.gates + at;
        real* d = b.dgates + at;
        const V slope = load(dh);
        if (z.cell == LSTM) {
            real* dc = m.dc + i * b.padded_units() + u;
            const V now = load(b.cells + row * z.units() + u);
            const V before = load(s ? b.cells + b.row(strand.direction, s - 1, q) * z.units() + u
                                    : m.c0 + i * b.padded_units() + u);
            V later = load(dc);
            if (s + 1 == b.order.length[q])
                later = b.dc_n ? load_some(b.dc_n + b.state(strand.direction, q) * z.hidden + u, n) : V{};
            const LstmSlopes v(g, before, now, slope, later,
                               b.peephole ? b.peephole + strand.direction * 3 * z.hidden + u : nullptr,
                               z.hidden, n);
            store(d, v.di);
            store(d + BLOCK, v.df);
            store(d + 2 * BLOCK, v.dg);
            store(d + 3 * BLOCK, v.d_o);
            store(dc, v.dc);
        } else if (z.cell == GRU) {
            const real* h = s      ? b.y + b.y_at(strand.direction, s - 1, q)
                            : b.h0 ? b.h0 + b.state(strand.direction, q) * z.outputs
                                   : b.zeros;
            const V cand = load(g), r = load(g + BLOCK), gate = load(g + 2 * BLOCK),
                    h_part = load(g + 3 * BLOCK);
            const V dn = slope * (1 - gate) * (1 - cand * cand);
            store(d, dn);
            store(d + BLOCK, dn * h_part * (r * (1 - r)));
            store(d + 2 * BLOCK, slope * (load_some(h + u, n) - cand) * (gate * (1 - gate)));
            store(d + 3 * BLOCK, dn * r);
            store(dh, slope * gate);
        } else {
            const V h = load(g);
            store(d, z.cell == RELU ? (h > 0 ? slope : V{}) : slope * (1 - h * h));
        }
    }

    void begin() const {
        const Sizes& z = b.z;
        if (z.cell != LSTM) return;
        for (i64 i = 0; i < samples(); ++i) {
            real* to = m.c0 + i * b.padded_units();
            std::memset(to, 0, b.padded_units() * sizeof(real));
            if (b.c0)
                std::memcpy(to, b.c0 + b.state(strand.direction, strand.q(i)) * z.hidden,
                            z.hidden * sizeof(real));
        }
    }

    // What the first step sends back to the state: panels [p0, p1) of h
    void end(i64 p0, i64 p1, real* dh0, real* dc0) const {
        const Sizes& z = b.z;
        const i64 rows = samples(), padded = b.padded_outputs();
        if (rows == 0 || p0 == p1) return;
        Scratch<real> sums(rows * padded);
        Scratch<real*> to(rows);
        const i64 first = p0 * PANEL, count = least(p1 * PANEL, z.outputs) - first;
        for (i64 i = 0; i < rows; ++i) {
            to[i] = sums + i * padded;
            if (z.cell == GRU)
                std::memcpy(to[i] + first, m.dh + i * b.padded_units() + first,
                            (p1 - p0) * PANEL * sizeof(real));
            else std::memset(to[i] + first, 0, (p1 - p0) * PANEL * sizeof(real));
        }
        send_back(-1, p0, p1, to);
        for (i64 i = 0; i < rows; ++i)
            std::memcpy(dh0 + b.state(strand.direction, strand.q(i)) * z.outputs + first, to[i] + first,
                        count * sizeof(real));
        if (p0 == 0 && z.cell == LSTM)
            for (i64 i = 0; i < rows; ++i)
                std::memcpy(dc0 + b.state(strand.direction, strand.q(i)) * z.hidden,
                            m.dc + i * b.padded_units(), z.hidden * sizeof(real));
    }
};

// dx = dgates W_ih, the directions one after the other
void input_gradient(const Backward& b, bool ragged, Out<real> dx) {
    const Sizes& z = b.z;
    const i64 depth = z.panels() * z.width() * BLOCK, panels = blocks_of(z.inputs, PANEL),
              padded = panels * PANEL, rows = b.order.rows();
    if (ragged) std::memset(dx.data, 0, dx.size() * sizeof(real));
    const Depth d = z.width() == 4 ? Depth{1, depth, 0} : Depth{z.panels(), 3 * BLOCK, PANEL};
    constexpr i64 CHUNK = 96;
    i64 chunks = blocks_of(rows, CHUNK);
    if (chunks < threads_now()) chunks = least(threads_now(), rows);
    for (i64 direction = 0; direction < z.directions; ++direction) {
        // which row of dx each row of dgates belongs to
        Scratch<i64> place(rows);
        for (i64 s = 0; s < b.order.iterations(); ++s)
            for (i64 q = 0; q < b.order.count(s); ++q)
                place[b.order.row(s, q)] = b.order.place(direction, s, q);
        auto task = [&](i64 chunk) {
            const i64 begin = rows * chunk / chunks, n = rows * (chunk + 1) / chunks - begin;
            Scratch<real> sums(n * padded);
            Scratch<const real*> from(n);
            Scratch<real*> to(n);
            for (i64 i = 0; i < n; ++i) {
                from[i] = b.dgates + (direction * rows + begin + i) * z.pitch();
                to[i]   = sums + i * padded;
                if (direction)
                    std::memcpy(to[i], dx.data + place[begin + i] * z.inputs, z.inputs * sizeof(real));
            }
            multiply(4, n, d, from, b.weights(direction) + b.at.input, depth * PANEL, panels, to, 0,
                     direction ? nullptr : b.zeros);
            for (i64 i = 0; i < n; ++i)
                std::memcpy(dx.data + place[begin + i] * z.inputs, to[i], z.inputs * sizeof(real));
        };
        if (rows * depth * padded > 40000) parallel_tasks(chunks, task);
        else for (i64 c = 0; c < chunks; ++c) task(c);
    }
}
}  // namespace

void recurrent_backward(In<real> dy, In<real> dh_n, In<real> dc_n, In<real> h0, In<real> c0, In<i64> lengths,
                        In<real> y, In<real> gates, In<real> cells, In<real> packed, In<real> peephole,
                        Dims sizes, bool batch_first, Out<real> dx, Out<real> dh0, Out<real> dc0,
                        Out<real> dgates, Out<real> dprojected) {
    const Sizes z(sizes, batch_first, (bool)peephole);
    if (z.samples == 0) return;
    const Order order(z, lengths);
    const i64 padded = blocks_of(z.hidden, PANEL) * PANEL, wide = blocks_of(z.inputs, PANEL) * PANEL,
              out_panels = blocks_of(z.outputs, PANEL);
    const i64   blank = padded > wide ? padded : wide;
    Scratch<real> zeros(blank);
    std::memset(zeros.data, 0, blank * sizeof(real));
    const Backward b{
        z,           order,          PackedTransposed(z), dy.data,    dh_n.data,   dc_n.data,     h0.data,
        c0.data,     y.data,         gates.data,          cells.data, packed.data, peephole.data, zeros,
        dgates.data, dprojected.data};

    const i64 threads = least(threads_now(), MOST_PARTS),
              step_work = z.samples * z.directions * z.gates() * z.outputs;
    const i64 per_direction = blocks_of(threads, z.directions);
    const bool shared_weights = (b.at.projection - b.at.recurrent) * (i64)sizeof(real) <= 512 * 1024 &&
                                z.samples >= 8 * per_direction;
    const i64 groups = shared_weights ? per_direction : 1, strands = z.directions * groups,
              each = blocks_of(z.samples, groups);
    const i64 strand_values = (z.cell == LSTM ? 3 : 1) * each * padded;
    Scratch<real> memory(strands * strand_values);
    std::memset(memory.data, 0, strands * strand_values * sizeof(real));
    auto run_of = [&](i64 i) {
        real* m = memory + i * strand_values;
        return BackwardRun{
            b, {i % z.directions, i / z.directions, groups}, {m, m + each * padded, m + 2 * each * padded}};
    };
    const i64 phases_of_step = z.projected() ? 2 : 1, iterations = order.iterations(),
              phases = iterations * phases_of_step + 1, panels = padded / PANEL;
    auto piece = [&](const BackwardRun& run, i64 phase, i64 part, i64 parts) {
        const i64 s = iterations - 1 - phase / phases_of_step;
        const i64 p0 = panels * part / parts, p1 = panels * (part + 1) / parts,
                  o0 = out_panels * part / parts, o1 = out_panels * (part + 1) / parts;
        if (s < 0) run.end(o0, o1, dh0.data, dc0.data);
        else if (!z.projected()) run.step(s, p0, p1);
        else if (phase % 2 == 0) run.outputs_step(s, o0, o1);
        else run.step(s, p0, p1);
    };
    for (i64 i = 0; i < strands; ++i) run_of(i).begin();
    if (threads == 1 || strands >= threads || step_work < 20000) {
        auto whole = [&](i64 i) {
            for (i64 p = 0; p < phases; ++p) piece(run_of(i), p, 0, 1);
        };
        if (step_work * iterations > 40000) parallel_tasks(strands, whole);
        else for (i64 i = 0; i < strands; ++i) whole(i);
    } else {
        in_phases(least(threads, panels), phases, [&](i64 part, i64 phase) {
            for (i64 i = 0; i < strands; ++i) piece(run_of(i), phase, part, least(threads, panels));
        });
    }
    if (dx.size()) input_gradient(b, (bool)lengths, dx);
}

END_KERNELS
