"""Cases of the rows of pyops/ops/recurrent.py, and calls that they refuse."""
from ...core.cases import A, Array, bad, case

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def weights_of(inputs, hidden, gates, layers=1, directions=1, bias=True, outputs=0, peephole=False):
    """Arrays of a layer's weights, small enough that no unit saturates."""
    def small(*shape):
        return Array(shape, scale=0.5 * shape[-1] ** -0.5)
    out = []
    for layer in range(layers):
        for _ in range(directions):
            out += [small(gates * hidden, (outputs or hidden) * directions if layer else inputs),
                    small(gates * hidden, outputs or hidden)]
            out += [A(gates * hidden), A(gates * hidden)] if bias else []
            out += [small(outputs, hidden)] if outputs else []
            out += [A(3, hidden)] if peephole else []
    return out


def torch_layers(name):
    """The same call to torch: lengths become a packed sequence."""
    def call(torch, x, state, weights, *, nonlinearity="tanh", num_layers=1, bias=True, bidirectional=False,
             batch_first=False, lengths=None):
        from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
        function = getattr(torch, f"rnn_{nonlinearity}" if name == "rnn" else name)
        alone = x.dim() == 2
        if alone:
            x, batch_first = x[:, None], False
            state = (state if state is None else [s[:, None] for s in state] if isinstance(state, list)
                     else state[:, None])
        n, count = x.shape[0 if batch_first else 1], num_layers * (1 + bidirectional)
        if state is None:
            zeros = [x.new_zeros(count, n, weights[1].shape[1]),
                     x.new_zeros(count, n, weights[0].shape[0] // 4)]
            state = zeros if name == "lstm" else zeros[0]
        state = tuple(state) if name == "lstm" else state
        if lengths is None:
            results = function(x, state, weights, bias, num_layers, 0.0, False, bidirectional, batch_first)
            return tuple(r.squeeze(1) for r in results) if alone else results
        packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
        state = (tuple(s[:, packed.sorted_indices] for s in state) if name == "lstm"
                 else state[:, packed.sorted_indices])
        y, *ends = function(packed.data, packed.batch_sizes, state, weights, bias, num_layers, 0.0, False,
                            bidirectional)
        y, _ = pad_packed_sequence(PackedSequence(y, packed.batch_sizes, packed.sorted_indices,
                                                  packed.unsorted_indices),
                                   batch_first, total_length=x.shape[1 if batch_first else 0])
        return y, *(end[:, packed.unsorted_indices] for end in ends)
    return call


def cases(name, gates):
    """Those that every cell has. The hidden units fill part of a block, one, several, and
    part of a panel of 64."""
    torch, two = torch_layers(name), name == "lstm"

    def one(why, steps, samples, inputs, hidden, state=False, outputs=0, peephole=False, **kwargs):
        layers, directions = kwargs.get("num_layers", 1), 1 + kwargs.get("bidirectional", False)
        x = A(steps, samples, inputs) if not kwargs.get("batch_first") else A(samples, steps, inputs)
        states = [A(layers * directions, samples, units) for units in ((outputs or hidden), hidden)][:1 + two]
        weights = weights_of(inputs, hidden, gates, layers, directions, kwargs.get("bias", True), outputs,
                             peephole)
        if peephole:
            kwargs["peephole"] = True
        return case(why, name, x, (states if two else states[0]) if state else None, weights,
                    torch=None if peephole else torch, **kwargs)
    lengths = [4, 6, 1, 6, 3]
    rows = [
        *(one(f"hidden{n}", 3, 2, 5, n, state=True) for n in (1, 7, 16, 20, 33, 70, 130)),
        *(one(f"samples{n}", 4, n, 6, 18) for n in (1, 3, 4, 7, 13)),
        one("long", 70, 3, 9, 17, state=True),
        one("threads_share_units", 5, 3, 20, 150, state=True),
        one("threads_share_samples", 6, 40, 8, 48, state=True),
        one("two_steps", 2, 3, 4, 5),
        one("nothing_kept", 5, 3, 4, 5, state=True, gradient=False),
        one("single_step", 1, 3, 4, 5, state=True),
        one("single_step_both_ways", 1, 3, 4, 5, state=True, bidirectional=True, num_layers=2, batch_first=True),
        one("without_bias", 4, 3, 4, 5, bias=False),
        one("both_ways", 5, 3, 4, 19, state=True, bidirectional=True),
        one("three_layers", 4, 2, 5, 18, state=True, num_layers=3),
        one("layers_both_ways_batch_first", 5, 3, 7, 18, state=True, num_layers=2, bidirectional=True, batch_first=True),
        one("batch_first", 5, 3, 4, 5, batch_first=True),
        one("lengths", 6, 5, 4, 18, state=True, lengths=lengths),
        one("lengths_both_ways", 6, 5, 4, 18, state=True, lengths=lengths, bidirectional=True, num_layers=2),
        one("lengths_batch_first", 6, 5, 4, 5, lengths=lengths, batch_first=True, bidirectional=True),
        one("lengths_leave_a_step_unused", 6, 3, 4, 5, lengths=[2, 4, 3], bidirectional=True),
        one("lengths_threads_share_units", 5, 3, 20, 150, lengths=[3, 5, 1]),
        one("no_samples", 4, 0, 3, 5),
        case("one_sequence", name, A(5, 4), None, weights_of(4, 6, gates), torch=torch),
        case("one_sequence_with_state", name, A(5, 4), [A(1, 6), A(1, 6)] if two else A(1, 6), weights_of(4, 6, gates), torch=torch, batch_first=True),
    ]
    if two:
        rows += [one("projection", 5, 3, 6, 20, state=True, outputs=7),
                 one("projection_lengths", 6, 5, 4, 20, state=True, outputs=18, lengths=lengths),
                 one("projection_both_ways", 5, 3, 6, 130, state=True, outputs=70, bidirectional=True,
                     num_layers=2),
                 one("peephole", 5, 3, 6, 20, state=True, peephole=True),
                 one("peephole_without_bias", 5, 3, 6, 20, peephole=True, bias=False),
                 one("peephole_projection_both_ways", 5, 5, 6, 20, state=True, peephole=True, outputs=5,
                     bidirectional=True, lengths=[5, 2, 1, 4, 3]),
                 case("cell", "lstm_cell", A(3, 4), [A(3, 20), A(3, 20)], *weights_of(4, 20, 4),
                      torch=lambda torch, x, state, *w: torch.lstm_cell(x, tuple(state), *w))]
    elif name == "gru":
        rows += [case("cell", "gru_cell", A(3, 4), A(3, 20), *weights_of(4, 20, 3), torch="gru_cell")]
    else:
        rows += [one("relu", 5, 3, 4, 70, state=True, nonlinearity="relu"),
                 one("relu_lengths", 6, 5, 4, 18, lengths=lengths, nonlinearity="relu"),
                 case("cell", "rnn_cell", A(3, 4), A(3, 20), *weights_of(4, 20, 1), torch="rnn_tanh_cell")]
    return rows


def refusals(name, gates):
    two, weights, x = name == "lstm", weights_of(4, 5, gates), A(6, 3, 4)

    def state(*shape):
        return [A(*shape), A(*shape)] if two else A(*shape)
    rows = [
        bad("gates", name, x, None, [A(gates * 5 + 1, 4), *weights[1:]], match=rf"{name}: weight_") if gates > 1 else
        bad("rows", name, x, None, [A(6, 4), *weights[1:]], match="rnn: weight_hh"),
        bad("features", name, A(6, 3, 5), None, weights, match=rf"{name}: weight_ih must be \({5 * gates}, 5\)"),
        bad("recurrent_weight", name, x, None, [weights[0], A(gates * 5, 6), *weights[2:]], match="weight_hh"),
        bad("bias", name, x, None, [*weights[:2], A(3), weights[3]], match="bias_ih"),
        bad("count_of_weights", name, x, None, weights[:3], match="in all"),
        bad("state_of_other_units", name, x, state(1, 3, 6), weights, match=r"must be \(1, 3, 5\)"),
        bad("state_of_other_samples", name, x, state(1, 2, 5), weights, match=r"must be \(1, 3, 5\)"),
        bad("state_of_other_layers", name, x, state(2, 3, 5), weights, match="layers times directions"),
        bad("state_of_a_step", name, A(1, 3, 4), state(1, 2, 5), weights, match=r"must be \(1, 3, 5\)"),
        bad("length_0", name, x, None, weights, lengths=[6, 0, 1], match="within 1 .. 6, got 0 .. 6"),
        bad("length_above", name, x, None, weights, lengths=[6, 7, 1], match="within 1 .. 6, got 1 .. 7"),
        bad("count_of_lengths", name, x, None, weights, lengths=[6, 1], match="3 integers"),
        bad("lengths_are_floats", name, x, None, weights, lengths=[6.0, 1.0, 2.0], match="3 integers, got float64"),
        bad("no_steps", name, A(0, 3, 4), None, weights, match="one step"),
        bad("one_axis", name, A(4), None, weights, match="2 or 3 axes"),
    ]
    if two:
        rows += [bad("one_state", name, x, A(1, 3, 5), weights, match="pair"),
                 bad("wide_projection", name, x, None, [A(20, 4), A(20, 6), A(20), A(20), A(6, 5)], match="fewer rows"),
                 bad("peephole", name, x, None, [*weights, A(4, 5)], peephole=True, match="weight_peephole"),
                 bad("cell_without_C", "lstm_cell", A(3, 4), A(3, 5), *weights, match="pair"),
                 bad("cells_C", "lstm_cell", A(3, 4), [A(3, 5), A(3, 6)], *weights, match="cell state")]
    elif name == "gru":
        rows += [bad("cells_state", "gru_cell", A(3, 4), A(2, 5), *weights, match="do not fit")]
    else:
        rows += [bad("nonlinearity", name, x, None, weights, nonlinearity="elu", match="elu"),
                 bad("cells_nonlinearity", "rnn_cell", A(3, 4), A(3, 5), *weights, nonlinearity="elu",
                     match="elu")]
    return rows


CASES = {name: cases(name, gates) for name, gates in GATES.items()}
REFUSES = {name: refusals(name, gates) for name, gates in GATES.items()}
