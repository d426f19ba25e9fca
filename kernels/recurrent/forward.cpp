// A recurrent layer over time, in one or two directions.
//
// The input's part of the gates, W_ih x + b, is a matrix product over a stretch of steps at a
// time; then each step adds W_hh h and applies the cell's equations (cell.h), a panel of units
// after the other while its sums are in the first-level cache. What a unit needs of the input is
// computed by the thread that owns it, so that a step has one point where threads meet: before
// anyone reads all of h.
//
// Threads share the work in one of two ways. Where there are directions, or samples and
// weights that fit into each core's cache, for all of them, each runs strands (order.h) from
// beginning to end and never waits. Else each owns a range of units, whose weights stay in
// its cache from step to step, and they meet once a step (phases.h). Sums are chains in a
// fixed order, the same in all cases.
#include "cell.h"
#include "multiply.h"
#include "phases.h"

BEGIN_KERNELS

namespace {
constexpr i64 STRETCH = 96;   // rows of the input's product at a time, if there is no need to keep the gates

struct Forward {
    const Sizes&  z;
    const Order&  order;
    const Packed  at{z};
    const real   *x, *h0, *packed, *zeros;
    real         *y, *gates, *cells;   // gates and cells of all steps, or null
    i64           stretch;             // steps

    const real* weights(i64 direction) const { return packed + direction * at.size; }
    i64 width() const { return z.directions * z.outputs; }
    real* y_row(i64 direction, i64 s, i64 q) const {
        return y + order.place(direction, s, q) * width() + direction * z.outputs;
    }
    const real* h_before(i64 direction, i64 s, i64 q) const {
        if (s) return y_row(direction, s - 1, q);
        return h0 ? h0 + (direction * z.samples + order.sample[q]) * z.outputs : zeros;
    }
};

// What a strand keeps between its steps
struct Memory {
    real *gates;    // of one stretch, unless those of all steps are kept
    real *cells;    // padded, of the last step: (samples of the strand, units)
    real *hidden;   // before the projection, padded
    real *out;      // after it, padded
};

struct StrandRun {
    const Forward& f;
    const Strand   strand;
    const Memory   m;
    i64 samples() const { return strand.count(f.order, 0); }
    i64 stretch_begin(i64 s) const { return s / f.stretch * f.stretch; }

    real* gates(i64 s, i64 i) const {
        if (f.gates)
            return f.gates + (strand.direction * f.order.rows() + f.order.row(s, strand.q(i))) * f.z.pitch();
        return m.gates + ((s - stretch_begin(s)) * samples() + i) * f.z.pitch();
    }
    real* cells(i64 s, i64 i) const {   // s = -1: before the first step
        if (f.cells && s >= 0)
            return f.cells + (strand.direction * f.order.rows() + f.order.row(s, strand.q(i))) * f.z.units();
        return m.cells + i * f.z.units();
    }

    // The input's part of panels [p0, p1) for the stretch that begins at step s
    void input(i64 s, i64 p0, i64 p1) const {
        const Sizes& z = f.z;
        const i64 end = least(s + f.stretch, f.order.iterations());
        i64 rows = 0;
        for (i64 t = s; t < end; ++t) rows += strand.count(f.order, t);
        Scratch<const real*> from(rows);
        Scratch<real*> to(rows);
        rows = 0;
        for (i64 t = s; t < end; ++t)
            for (i64 i = 0, n = strand.count(f.order, t); i < n; ++i, ++rows) {
                from[rows] = f.x + f.order.place(strand.direction, t, strand.q(i)) * z.inputs;
                to[rows]   = gates(t, i);
            }
        const real* w    = f.weights(strand.direction);
        const i64   size = z.inputs * z.width() * BLOCK;
        multiply(z.width(), rows, {1, z.inputs, 0}, from, w + f.at.input + p0 * size, size, p1 - p0, to,
                 p0 * PANEL, w + f.at.bias);
        if (p0 == 0 && f.gates)   // what lies between rows
            for (i64 r = 0; r < rows; ++r)
                std::memset(to[r] + z.gates(), 0, (z.pitch() - z.gates()) * sizeof(real));
        if (z.cell == GRU)   // h's part of n starts from its own bias
            for (i64 r = 0; r < rows; ++r)
                for (i64 p = p0; p < p1; ++p)
                    std::memcpy(to[r] + p * PANEL + 3 * BLOCK, w + f.at.bias + p * PANEL + 3 * BLOCK,
                                BLOCK * sizeof(real));
    }

    // Step s of panels [p0, p1)
    void step(i64 s, i64 p0, i64 p1) const {
        const Sizes& z = f.z;
        if (p0 == p1) return;
        if (s == stretch_begin(s)) input(s, p0, p1);
        const i64 rows = strand.count(f.order, s);
        if (rows == 0) return;
        Scratch<const real*> h(rows);
        Scratch<real*> to(rows), y(rows);
        for (i64 i = 0; i < rows; ++i) {
            h[i]  = f.h_before(strand.direction, s, strand.q(i));
            to[i] = gates(s, i);
            y[i]  = z.projected() ? m.hidden + i * z.units() : f.y_row(strand.direction, s, strand.q(i));
        }
        const real* w     = f.weights(strand.direction);
        const i64 size = z.outputs * z.width() * BLOCK, units = z.panel_units(),
                  together = rows <= PAIR_ROWS && BLOCK_VECTORS == 1 ? 2 : 1;
        const bool  no_h  = s == 0 && !f.h0;
        for (i64 at = p0; at < p1; at += together) {
            // There and back: of weights that do not fit into a core's cache, the last of one step
            // are the first of the next
            const i64 count = least(together, p1 - at),
                      p = s % 2 && rows <= TILE_ROWS ? p1 - (at - p0) - count : at;
            if (!no_h)
                multiply(z.width(), rows, {1, z.outputs, 0}, h, w + f.at.recurrent + p * size, size, count,
                         to, p * PANEL + z.recurrent_slot() * BLOCK, nullptr);
            for (i64 i = 0; i < rows; ++i)
                for (i64 own = p; own < p + count; ++own) {
                    const i64 unit = own * units;
                    CellStep{to[i] + own * PANEL,
                             h[i] + unit,
                             z.cell == LSTM ? cells(s - 1, i) + unit : nullptr,
                             z.cell == LSTM ? cells(s, i) + unit : nullptr,
                             y[i] + unit,
                             (z.projected() ? z.units() : z.hidden) - unit,
                             z.peephole ? w + f.at.peephole + unit : nullptr,
                             z.units(),
                             f.gates != nullptr}
                        .run(z.cell);
                }
        }
    }

    // The projection of step s, panels [p0, p1) of the outputs
    void project(i64 s, i64 p0, i64 p1) const {
        const Sizes& z = f.z;
        const i64 rows = strand.count(f.order, s), padded = blocks_of(z.outputs, PANEL) * PANEL;
        if (rows == 0 || p0 == p1) return;
        Scratch<const real*> from(rows);
        Scratch<real*> to(rows);
        for (i64 i = 0; i < rows; ++i) {
            from[i] = m.hidden + i * z.units();
            to[i]   = m.out + i * padded;
        }
        const i64 size = z.hidden * PANEL;
        multiply(4, rows, {1, z.hidden, 0}, from, f.weights(strand.direction) + f.at.projection + p0 * size,
                 size, p1 - p0, to, p0 * PANEL, f.zeros);
        for (i64 i = 0; i < rows; ++i) {
            const i64 first = p0 * PANEL, count = least(p1 * PANEL, z.outputs) - first;
            std::memcpy(f.y_row(strand.direction, s, strand.q(i)) + first, to[i] + first,
                        count * sizeof(real));
        }
    }

    // The state before the first step
    void begin(In<real> c0) const {
        const Sizes& z = f.z;
        if (z.cell != LSTM) return;
        for (i64 i = 0; i < samples(); ++i) {
            real* to = m.cells + i * z.units();
            std::memset(to, 0, z.units() * sizeof(real));
            if (c0)
                std::memcpy(to,
                            c0.data + (strand.direction * z.samples + f.order.sample[strand.q(i)]) * z.hidden,
                            z.hidden * sizeof(real));
        }
    }
    // The states at the ends
    void end(Out<real> h_n, Out<real> c_n) const {
        const Sizes& z = f.z;
        for (i64 i = 0; i < samples(); ++i) {
            const i64 q = strand.q(i), last = f.order.length[q] - 1,
                      to = strand.direction * z.samples + f.order.sample[q];
            std::memcpy(h_n.data + to * z.outputs, f.y_row(strand.direction, last, q),
                        z.outputs * sizeof(real));
            if (z.cell == LSTM)
                std::memcpy(c_n.data + to * z.hidden, cells(last, i), z.hidden * sizeof(real));
        }
    }
};

// y behind the ends
void clear_rest(const Forward& f) {
    for (i64 q = 0; q < f.z.samples; ++q)
        for (i64 t = f.order.length[q]; t < f.z.steps; ++t)
            std::memset(f.y + f.z.place(t, f.order.sample[q]) * f.width(), 0, f.width() * sizeof(real));
}
}  // namespace

void recurrent(In<real> x, In<real> h0, In<real> c0, In<i64> lengths, In<real> packed, Dims sizes,
               bool batch_first, bool peephole, Out<real> y, Out<real> h_n, Out<real> c_n, Out<real> gates,
               Out<real> cells) {
    const Sizes z(sizes, batch_first, peephole);
    if (z.samples == 0) return;
    const Order order(z, lengths);
    const bool  keep = gates.size() > 0;
    const i64   padded = blocks_of(z.outputs, PANEL) * PANEL, blank = padded < z.units() ? z.units() : padded;
    Scratch<real> zeros(blank);
    std::memset(zeros.data, 0, blank * sizeof(real));
    const i64 stretch = STRETCH / z.samples < 1 ? 1 : least(STRETCH / z.samples, z.steps);
    const Forward f{z,
                    order,
                    Packed(z),
                    x.data,
                    h0.data,
                    packed.data,
                    zeros,
                    y.data,
                    keep ? gates.data : nullptr,
                    keep && cells.size() ? cells.data : nullptr,
                    stretch};
    const Packed at(z);
    clear_rest(f);

    const i64 threads = least(threads_now(), MOST_PARTS),
              step_work = z.samples * z.directions * z.gates() * z.outputs;
    const i64 per_direction = blocks_of(threads, z.directions);
    const bool shared_weights =
        (at.bias - at.recurrent) * (i64)sizeof(real) <= 512 * 1024 && z.samples >= 8 * per_direction;
    const i64 groups = shared_weights ? per_direction : 1, strands = z.directions * groups;
    const i64 each = blocks_of(z.samples, groups);   // samples of a strand, at most
    const i64 gate_values = keep ? 0 : each * stretch * z.pitch(),
              cell_values = z.cell == LSTM ? each * z.units() : 0,
              hidden_values = z.projected() ? each * z.units() : 0,
              out_values = z.projected() ? each * padded : 0;
    const i64 strand_values = gate_values + cell_values + hidden_values + out_values + LANES;
    Scratch<real> memory(strands * strand_values);
    auto run_of = [&](i64 i) {
        real* m = memory + i * strand_values;
        return StrandRun{f,
                         {i % z.directions, i / z.directions, groups},
                         {m, m + gate_values, m + gate_values + cell_values,
                          m + gate_values + cell_values + hidden_values}};
    };
    const i64 phases_of_step = z.projected() ? 2 : 1, phases = order.iterations() * phases_of_step;
    const i64 out_panels = blocks_of(z.outputs, PANEL);
    auto piece = [&](const StrandRun& run, i64 phase, i64 part, i64 parts) {
        const i64 s = phase / phases_of_step;
        if (phase % phases_of_step)
            run.project(s, out_panels * part / parts, out_panels * (part + 1) / parts);
        else run.step(s, z.panels() * part / parts, z.panels() * (part + 1) / parts);
    };
    for (i64 i = 0; i < strands; ++i) run_of(i).begin(c0);
    if (threads == 1 || strands >= threads || step_work < 20000) {
        auto whole = [&](i64 i) {
            const StrandRun run = run_of(i);
            for (i64 p = 0; p < phases; ++p) piece(run, p, 0, 1);
        };
        if (step_work * order.iterations() > 40000) parallel_tasks(strands, whole);
        else for (i64 i = 0; i < strands; ++i) whole(i);
    } else {
        const i64 most = z.panels() > out_panels ? z.panels() : out_panels, parts = least(threads, most);
        in_phases(parts, phases, [&](i64 part, i64 phase) {
            for (i64 i = 0; i < strands; ++i) piece(run_of(i), phase, part, parts);
        });
    }
    for (i64 i = 0; i < strands; ++i) run_of(i).end(h_n, c_n);
}

END_KERNELS
