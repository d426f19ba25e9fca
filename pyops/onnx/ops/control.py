"""If, Loop and Scan. What is known while a Program is made chooses and repeats then; what a run says
becomes a branch or loop of the Program (graph/control.py)."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...graph import control
from ...graph.counted import Counted
from ...graph.trace import TraceError, specialised, tracing
from ...ops.gather import TAKE
from ..limits import PER_NODE
from ..values import is_plain
from .lengths import upper
from .row import Unsupported, axis_of, op, rank, traced
from .select import sliced


def joined(parts, axis: int = 0):
    """Results of all rounds along a new axis."""
    if not parts:
        raise Unsupported("no round was made, so that the shape of what it would collect is not known")
    return F.stack(parts, axis) if traced(*parts) else np.stack(parts, axis)


@op("If", keeps=True)
def choose(call):
    bodies = [call.attr(name) for name in ("then_branch", "else_branch")]
    if traced(call[0]) and not specialised(call[0]):
        return tuple(control.branch(call[0], *(lambda body=b: arrays(call.evaluate(body, [])) for b in bodies)))
    return tuple(call.evaluate(bodies[0 if bool(call.number(0, "the condition")) else 1], []))


def arrays(values):
    """The values of a branch or round of a Program."""
    if not all(map(is_plain, values)):
        raise Unsupported("sequences and optional values in a branch or loop that a run decides on")
    return values


# Nodes that a loop may come to where its rounds are known, so that they fuse with one another; and where it
# cannot be one
UNROLLED, MOST_UNROLLED = 1 << 9, 1 << 13
PER_ROUND = 1 << 12   # multiply-adds that a node of a loop counts for in each of its rounds


@op("Loop", keeps=True)
def loop(call):
    """Rounds until the count is reached or the body says no: states, then what each round adds to a
    collection.
    """
    body, states = call.attr("body"), call.inputs[2:]
    if len(body.inputs) != len(states) + 2 or len(body.outputs) < len(states) + 1:
        raise ValueError(
            f"a body of {len(body.inputs)} inputs and {len(body.outputs)} outputs for {len(states)} states"
        )
    if not tracing() or not traced(call[0], call[1]):
        most = None if call[0] is None else call.number(0, "the count")
        go = call[1] is None or bool(call.number(1, "the condition"))
        if not tracing() or go and most is not None and 0 < most * len(body.nodes) <= UNROLLED:
            found = unrolled(call, most, go)
            if found is not None:
                return found
    try:
        return repeated(call, body, states)
    except (TraceError, Unsupported):
        if call[0] is not None and (not traced(call[0]) or specialised(call[0])):
            go = call[1] is None or bool(call.number(1, "the condition"))
            found = unrolled(call, call.number(0, "the count"), go)
            if found is not None:
                return found
        raise


def unrolled(call, most, go):
    """The results of rounds one after the other; None where a round's condition is a run's."""
    body, states, n, rounds = call.attr("body"), call.inputs[2:], len(call.inputs) - 2, 0
    collected: list[list] = [[] for _ in body.outputs[n + 1 :]]
    while go and (most is None or rounds < most):
        call.work(PER_NODE)
        more, *results = call.evaluate(body, [np.array(rounds, np.int64), np.array(go), *states])
        if traced(more):
            return None
        if np.size(more) != 1:
            raise ValueError(f"its condition must be one value, got shape {np.shape(more)}")
        go, states, rounds = bool(np.reshape(more, ())), results[:n], rounds + 1
        for parts, value in zip(collected, results[n:]):
            parts.append(value)
    wanted = [i for i in range(len(collected)) if call.wants(n + i)]
    return (*states, *(joined(parts) if i in wanted else None for i, parts in enumerate(collected)))


def repeated(call, body, states):
    """A loop of the Program. What was collected is as long as there were rounds."""
    n = len(states)

    def round(i, *states):
        more, *results = arrays(call.evaluate(body, [i, np.array(True), *states]))
        return more, results[:n], results[n:]

    most = None if call[0] is None or traced(call[0]) else max(0, call.number(0, "the count"))
    # a count that is there because there must be one says no more than none
    open_end = most is not None and most > control.ROUNDS
    room = upper(call[0])[0] if traced(call[0]) else math.inf
    around = call.limits.rounds
    call.limits.rounds = around * (1 if most is None else max(most, 1))
    try:
        found = control.loop(round, arrays(states), limit=None if open_end else call[0], go=call[1],
                             most=int(room) if room < control.ROUNDS else None)
        if most is not None and (found.exact or open_end and not found.ends):
            call.work(call.limits.rounds * len(body.nodes) * PER_ROUND)
    finally:
        call.limits.rounds = around
    return (*found.states, *(v if found.exact else Counted(v, 0, found.count) for v in found.collected))


@op("Scan", keeps=True)
def scan(call):
    """A round for each entry of the scanned inputs: states, then collections, each along an axis
    and forwards or backwards.

    Before operator set 9 everything has a batch axis in front, and the first input, lengths that
    differ, is refused.
    """
    given = call.inputs
    if call.version < 9:
        if call[0] is not None:
            raise Unsupported("sequences of lengths that differ")
        given = given[1:]
    body, count = call.attr("body"), call.attr("num_scan_inputs")
    if not 1 <= count <= len(given) or len(body.inputs) != len(given) or len(body.outputs) < len(given) - count:
        raise ValueError(f"num_scan_inputs {count} of {len(given)} inputs, for a body of {len(body.inputs)}")
    if call.version >= 9:
        return scanned_over(call, given)
    batches = {v.shape[0] if rank(v) else 0 for v in given}
    if len(batches) > 1 or not min(batches):
        raise ValueError(f"inputs are of batches {sorted(batches)}")
    samples = [scanned_over(call, [entry(v, 0, i) for v in given]) for i in range(*batches)]
    return tuple(joined(parts) for parts in zip(*samples))


def scanned_over(call, given: list) -> tuple:
    """Scan without a batch: states, then what is scanned."""
    body, count = call.attr("body"), call.attr("num_scan_inputs")
    n = len(given) - count
    outputs = len(body.outputs) - n
    states, scanned = given[:n], given[n:]

    def each(name, size):
        values = call.attr(name) or [0] * size
        if len(values) != size:
            raise ValueError(f"{name} must be {size} numbers, got {len(values)}")
        return values

    axes = [axis_of(a, rank(x)) for a, x in zip(each("scan_input_axes", count), scanned)]
    turned = each("directions" if call.version < 9 else "scan_input_directions", count)
    turned_out = each("scan_output_directions", outputs)
    axes_out = each("scan_output_axes", outputs)
    lengths = {x.shape[a] for x, a in zip(scanned, axes)}
    if len(lengths) > 1:
        raise ValueError(f"scanned axes are of lengths {sorted(lengths)}")
    (length,) = lengths

    def round(i, *states):
        entries = [entry(x, a, length - 1 - i if back else i) for x, a, back in zip(scanned, axes, turned)]
        results = arrays(call.evaluate(body, [*states, *entries]))
        return None, results[:n], results[n:]

    if tracing() and not 0 < length * len(body.nodes) <= UNROLLED:
        try:
            call.limits.rounds *= max(length, 1)
            try:
                call.work(call.limits.rounds * len(body.nodes) * PER_ROUND)
                found = control.loop(round, states, limit=length)
            finally:
                call.limits.rounds //= max(length, 1)
            parts = [F.flip(v, (0,)) if back else v for v, back in zip(found.collected, turned_out)]
            return (*found.states, *(F.movedim(v, 0, axis_of(a, rank(v))) for v, a in zip(parts, axes_out)))
        except (TraceError, Unsupported):   # states that change their shape
            if length * len(body.nodes) > MOST_UNROLLED:
                raise
    collected: list[list] = [[] for _ in range(outputs)]
    for i in range(length):
        call.work(PER_NODE)
        _, states, results = round(i, *states)
        for parts, value, back in zip(collected, results, turned_out):
            parts.insert(0 if back else len(parts), value)
    return (*states, *(joined(p, a) for p, a in zip(collected, axes_out)))


def entry(x, axis: int, i):
    """Entry i of an axis, without it."""
    if traced(i):
        return TAKE(x, i, dim=axis, wrap=False)
    part = sliced(x, {axis: slice(i, i + 1)})
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return F.reshape(part, shape) if traced(part) else part.reshape(shape)
