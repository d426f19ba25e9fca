"""Branches and loops of compiled programs: computed by what a run says, saved, loaded, and never forged."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from poisoned import compiled, normal

import pyops
import pyops.functional as F
from pyops import _C, nn
from pyops.core.backends import BACKENDS, ISAS
from pyops.graph import control
from pyops.graph.trace import TraceError

F32 = np.float32
NATIVE = [name for name in ISAS if not BACKENDS[name].missing]


def either(x, y):
    """Both results of a branch, and what lives across it and behind it."""
    before = F.exp(x)
    a, b = control.branch(F.gt(F.sum(x), 0.0), lambda: (F.relu(x) + y, np.ones(3, F32)),
                          lambda: (y * before, F.sum(x, 1)[:3]))
    return a * 2, b, before


def either_by_hand(x, y):
    if x.sum() > 0:
        return (np.maximum(x, 0) + y) * 2, np.ones(3, F32), np.exp(x)
    return y * np.exp(x) * 2, x.sum(1)[:3], np.exp(x)


def test_a_run_chooses():
    programs = compiled(either, normal(0, 4, 5), normal(0, 4, 5))
    for seed in range(6):
        x, y = normal(seed, 4, 5), normal(seed + 100, 4, 5)
        for program in programs:
            for got, want in zip(program(x, y), either_by_hand(x, y)):
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_branches_hold_layers_that_are_fused_and_packed():
    """A body is passed, chosen and lowered as a graph of its own is."""
    wide = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()).eval()
    narrow = nn.Sequential(nn.Conv2d(16, 16, 1), nn.SiLU()).eval()

    def model(x):
        x = F.relu(x)
        (y,) = control.branch(F.gt(F.mean(x), 1.0), lambda: (wide(x),), lambda: (narrow(x),))
        return F.cat([x, y], 1)

    x = normal(1, 2, 16, 9, 8)
    programs = compiled(model, x)
    assert {"conv+act"} <= {s.op for s in programs[0].steps}
    for scale, layers in ((1, narrow), (9, wide)):
        given = np.maximum(x * F32(scale), 0)
        want = np.concatenate([given, layers(given)], 1)
        for program in programs:
            np.testing.assert_allclose(program(x * F32(scale)), want, rtol=1e-4, atol=1e-4)


def test_branches_within_branches():
    def model(x):
        def inner(scale):
            return control.branch(F.gt(x[0], 0.0), lambda: (x * scale,), lambda: (x - scale,))
        return control.branch(F.gt(x[1], 0.0), lambda: inner(2.0), lambda: inner(3.0))[0]

    programs = compiled(model, np.zeros(2, F32))
    for a in (-1, 1):
        for b in (-1, 1):
            x = np.array([a, b], F32)
            scale = F32(2 if b > 0 else 3)
            for program in programs:
                assert np.array_equal(program(x), x * scale if a > 0 else x - scale)


def collatz(n):
    """3 n + 1: rounds that nobody knows before."""
    def body(i, n):
        after = F.where(F.eq(n % 2, 0), n // 2, n * 3 + 1)
        return F.ne(after, 1), [after], []
    found = control.loop(body, [n], go=F.ne(n, 1))
    return found.count, found.states[0]


def test_a_loop_ends_when_the_run_says():
    for program in compiled(collatz, np.zeros((), np.int64)):
        for n, steps in ((1, 0), (2, 1), (6, 8), (27, 111), (97, 118)):
            assert [int(v) for v in program(np.array(n))] == [steps, 1]


def test_a_loop_without_end_is_an_error():
    def model(x):
        found = control.loop(lambda i, s: (F.ge(s, 0.0), [s * 1.0], []), [x])
        return found.states[0]
    (program, _) = compiled(model, np.zeros((), F32))
    with pytest.raises(ValueError, match="has not ended in 1048576 rounds"):
        program(np.ones((), F32))
    assert program(np.array(-1, F32)) == -1


def test_loops_within_loops_end_together():
    """2^28 rounds, which take some seconds where nothing is done in them."""
    def model(n):
        def outer(i, s):
            return None, control.loop(lambda j, t: (None, [t], []), [s], limit=1 << 20).states, []
        return control.loop(outer, [n * 2], limit=n, most=1 << 20).states[0]
    (program, _) = compiled(model, np.zeros((), np.int64))
    assert program(np.array(0)) == 0
    with pytest.raises(ValueError, match="have not ended in 2.28 rounds"):
        program(np.array(1 << 20))


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_a_loop_collects(count):
    """Fibonacci's numbers, with states that change places, and a count of the run."""
    def model(n, x):
        found = control.loop(lambda i, a, b, c: (None, (b, a + b, c * 0.5), (a, F.add(i, 10), c)),
                             [np.zeros((), F32), np.ones((), F32), x], limit=n, most=7)
        return found[:3]

    x, want = normal(3, 2, 3), [0, 1, 1, 2, 3, 5, 8, 13, 21]
    for program in compiled(model, np.zeros((), np.int64), x):
        rounds, states, collected = program(np.array(count), x)
        assert rounds == count and [float(s) for s in states[:2]] == [want[count], want[count + 1]]
        assert np.array_equal(states[2], x * F32(0.5) ** count)
        assert collected[0].tolist() == [*want[:count], *[0] * (7 - count)]
        assert collected[1].tolist() == [*range(10, 10 + count), *[0] * (7 - count)]
        for i in range(7):
            assert np.array_equal(collected[2][i], x * F32(0.5) ** i * (i < count))


def test_states_change_places():
    """Three of them, round and round, one through a view."""
    def model(a, b, c):
        return control.loop(lambda i, a, b, c: (None, (b, F.reshape(c, (2, 3)), F.reshape(a, (3, 2))), ()),
                            [a, b, c], limit=2).states
    a, b, c = normal(0, 2, 3), normal(1, 2, 3), normal(2, 3, 2)
    for program in compiled(model, a, b, c):
        got = program(a, b, c)
        want = [c.reshape(2, 3), a.reshape(3, 2).reshape(2, 3), b.reshape(3, 2)]
        assert all(np.array_equal(g, w) for g, w in zip(got, want))


def test_loops_within_loops_and_branches():
    """What is read round after round is kept, and what only a round needs may lie where it lay."""
    def model(x):
        doubled = x * 2

        def outer(i, total):
            inner = control.loop(lambda j, s: (None, [F.tanh(s) + doubled], []), [total], limit=3)
            (s,) = control.branch(F.gt(i, 0), lambda: (inner.states[0] - x,), lambda: (inner.states[0],))
            return None, [s], [F.sum(s)]
        found = control.loop(outer, [x], limit=4)
        return found.states[0], found.collected[0], doubled + 1

    x = normal(5, 3, 4)
    total, sums = x, []
    for i in range(4):
        for _ in range(3):
            total = np.tanh(total) + x * 2
        total = total - x if i else total
        sums.append(total.sum())
    for program in compiled(model, x):
        got = program(x)
        np.testing.assert_allclose(got[0], total, rtol=1e-5)
        np.testing.assert_allclose(got[1], sums, rtol=1e-5)
        np.testing.assert_allclose(got[2], x * 2 + 1, rtol=1e-6)


def test_threads_run_one_program_at_once():
    program, _ = compiled(collatz, np.zeros((), np.int64))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: [int(v) for v in program(np.array(n))], [27, 6, 97, 1] * 50))
    assert found == [[111, 1], [8, 1], [118, 1], [0, 1]] * 50


def test_what_no_program_can_hold_is_refused():
    for model, text in (
        (lambda x: control.branch(F.gt(x[0], 0.0), lambda: (x,), lambda: (F.eq(x, x),)), "other types or shapes"),
        (lambda x: control.loop(lambda i, s: (None, [F.cat([s, s], 0)], []), [x], limit=3).states[0],
         r"state 0 .* is float32\[2\] before a round and float32\[4\] behind it"),
        (lambda x: control.loop(lambda i, s: (F.gt(s[0], 0.0), [s], [s]), [x]).states[0],
         "no room for what they collect"),
    ):
        with pytest.raises(TraceError, match=text):
            pyops.compile(model, np.zeros(2, F32))
    with pytest.raises(TraceError, match="outside of compile"):
        control.branch(None, lambda: (), lambda: ())


def test_numbers_that_a_body_asks_for_are_those_of_the_inputs_they_come_from():
    def model(x, n):
        def yes():
            return (x[: int(n.data)],)
        return control.branch(F.gt(x[0], 0.0), yes, yes)[0]
    with pytest.raises(TraceError) as why:
        pyops.compile(model, (np.zeros(2, F32), np.zeros((), np.int64)))
    assert why.value.wanted == (1,)


# ---- files

def forged(program, change):
    return forged_plan(program, lambda plan: change(plan["steps"]))


def forged_plan(program, change):
    file = io.BytesIO()
    program.save(file)
    with np.load(io.BytesIO(file.getvalue())) as held:
        arrays = {name: held[name] for name in held.files}
    plan = json.loads(arrays.pop("plan").tobytes())
    change(plan)
    file = io.BytesIO()
    np.savez(file, plan=np.frombuffer(json.dumps(plan).encode(), np.uint8), **arrays)
    file.seek(0)
    return file


def named(steps, kernel):
    return next(s for s in steps if s["kernel"] == kernel)["args"]


@pytest.mark.parametrize("change, text", [
    (lambda s: named(s, "branch").__setitem__(1, 99), "lies within the part around it"),
    (lambda s: named(s, "branch").__setitem__(2, -1), "counts of calls"),
    (lambda s: named(s, "branch").__setitem__(0, None), "an array is a constant or a place"),
    (lambda s: named(s, "branch")[0].__setitem__(2, 1 << 40), "begins at a value of its space"),
    (lambda s: named(s, "branch")[0].__setitem__(5, "int64"), "bool is expected"),
    (lambda s: named(s, "branch")[0].__setitem__(3, [0]), "a number that is read is there"),
    (lambda s: named(s, "branch").append(0), "a place for each of its numbers"),
    (lambda s: s.insert(0, {**s[0], "kernel": "loop", "args": [None, None, None, 1, 1]}),
     "an array is a constant or a place"),
    (lambda s: s.pop(), "lies within the part around it"),
])
def test_a_forged_branch_is_refused(change, text):
    def model(x):
        return control.branch(F.gt(x[0], 0.0), lambda: (x * 2,), lambda: (F.exp(x),))[0]
    program = pyops.compile(model, np.zeros(2, F32))
    with pytest.raises(ValueError, match=text):
        pyops.Program.load(forged(program, change))


@pytest.mark.parametrize("change, text", [
    (lambda a: a.__setitem__(4, 1 << 20), "lies within the part around it"),
    (lambda a: a.__setitem__(3, -1), "counts of calls"),
    (lambda a: a.__setitem__(3, 1 << 40), "counts of calls"),
    (lambda a: a.__setitem__(0, None), "an array is a constant or a place"),
    (lambda a: a[0].__setitem__(0, 1), "kernels write to the arena and to outputs"),
    (lambda a: a.__setitem__(2, a[0]), "bool is expected"),
])
def test_a_forged_loop_is_refused(change, text):
    program = pyops.compile(collatz, np.zeros((), np.int64))
    with pytest.raises(ValueError, match=text):
        pyops.Program.load(forged(program, lambda steps: change(named(steps, "loop"))))


def finds(x):
    return F.masked_select(x, F.gt(x, 0.0)), F.nonzero(F.gt(x, 0.0))


def test_calls_run_on_what_was_found():
    """What lies behind stays as it was in the arena: NaN."""
    for program in compiled(finds, np.zeros((6, 7), F32)):
        assert [s.kernel for s in program.steps].count("shorten") >= 3
        for seed, scale in ((0, 1), (1, 1), (2, 0), (3, -1)):
            x = normal(seed, 6, 7)
            x = np.abs(x) * F32(scale) if seed > 1 else x
            values, places = program(x)
            assert np.array_equal(values, x[x > 0]) and np.array_equal(places, np.argwhere(x > 0))
        full = np.ones((6, 7), F32)
        assert program(full)[0].shape == (42,)


@pytest.mark.parametrize("change, text", [
    (lambda a: a.__setitem__(1, 1), "keeps the entries of its first axis apart|shape"),
    (lambda a: a.__setitem__(1, 0), "room for an entry"),
    (lambda a: a.__setitem__(1, 5), "keeps the entries of its first axis apart"),
    (lambda a: a.__setitem__(2, [0]), "keeps the entries of its first axis apart"),
    (lambda a: a.__setitem__(2, []), "keeps the entries of its first axis apart"),
    (lambda a: a.__setitem__(2, 7), "places are those of arguments"),
    (lambda a: a.__setitem__(0, 7), "an array is a constant or a place"),
    (lambda a: a.pop(), "a count, a room and places"),
])
def test_a_forged_shortening_is_refused(change, text):
    program = pyops.compile(finds, np.zeros((6, 7), F32))
    file = forged(program, lambda steps: change(named(steps, "shorten")))
    if "|" in text:   # entries of another size: more of them are written than are there, all within the room
        pyops.Program.load(file)(np.ones((6, 7), F32))
        return
    with pytest.raises(ValueError, match=text):
        pyops.Program.load(file)


def test_a_shortening_of_another_kernel_is_refused():
    def change(steps):
        i = next(i for i, s in enumerate(steps) if s["kernel"] == "nonzero")
        steps.insert(i, next(s for s in steps if s["kernel"] == "shorten"))
    with pytest.raises(ValueError, match="keeps the entries of its first axis apart"):
        pyops.Program.load(forged(pyops.compile(finds, np.zeros((6, 7), F32)), change))
    with pytest.raises(ValueError, match="keeps the entries of its first axis apart"):   # of none
        pyops.Program.load(forged(pyops.compile(finds, np.zeros((6, 7), F32)),
                                  lambda steps: steps.append(next(s for s in steps if s["kernel"] == "shorten"))))


@pytest.mark.parametrize("cuts, text", [
    ([[9, 0, 2]], "outputs and axes that there are"), ([[0, 2, 2]], "outputs and axes that there are"),
    ([[0, 0, 9]], "outputs and axes that there are"), ([[0, 0, 1]], "one number of int64"),
    ([[0, 0]], "cuts are an output"), ([[0, -1, 2]], "cuts are an output"), ({}, "cuts are an output"),
    ([[0, 0, True]], "cuts are an output")])
def test_forged_cuts_are_refused(cuts, text):
    program = pyops.compile(finds, np.zeros((6, 7), F32))
    with pytest.raises(ValueError, match=text):
        pyops.Program.load(forged_plan(program, lambda plan: plan.update(cuts=cuts)))


@pytest.mark.parametrize("version", [5, 6])
def test_files_of_older_formats_are_read(version):
    program = pyops.compile(F.relu, normal(0, 3))

    def older(plan):
        plan["pyops program"] = version
        if version < 6:
            del plan["cuts"]
    assert np.array_equal(pyops.Program.load(forged_plan(program, older))(normal(0, 3)),
                          np.maximum(normal(0, 3), 0))


def test_joined_groups_of_an_older_file_are_refused_by_name():
    """Files up to format 6 have narrow groups as wider ones with zeros between them."""
    w = np.ones((32, 32, 3, 3), F32)
    program = pyops.compile(lambda x: F.conv2d(F.relu(x), w, None, 1, 1), normal(0, 1, 32, 4, 4), "strict")

    def older(plan):
        plan["pyops program"] = 6
        next(s for s in plan["steps"] if s["kernel"] == "direct_conv")["args"][9] = 8
    with pytest.raises(ValueError, match="is of version 6, of which this pyops .* save it again"):
        pyops.Program.load(forged_plan(program, older))


def test_parts_without_end_are_refused():
    """A thousand loops within each other would be as many calls on the stack."""
    def change(steps):
        i = next(i for i, s in enumerate(steps) if s["kernel"] == "loop")
        steps[i:i + 1] = [{**steps[i], "args": [*steps[i]["args"][:4], steps[i]["args"][4] + 999 - k]}
                          for k in range(1000)]
    program = pyops.compile(collatz, np.zeros((), np.int64))
    with pytest.raises(ValueError, match="at most 64 deep"):
        pyops.Program.load(forged(program, change))


def test_the_extension_itself_refuses_parts_that_are_not_there():
    from pyops import _C
    native = _C.Program(pyops.compile(either, (np.zeros((4, 5), F32),) * 2).isa, 64, [4], [4], 1)
    native.add("branch", (np.ones((), bool), 1, 0))
    with pytest.raises(ValueError, match="do not fit into the program"):
        native.run((np.zeros(1, F32),), (np.zeros(1, F32),))
    for kernel, arguments in (("branch", (None, 0, 0)), ("loop", (None, None, None, 1, 0)),
                              ("branch", (np.ones(0, bool), 0, 0))):
        with pytest.raises((ValueError, TypeError)):
            native.add(kernel, arguments)


def test_branches_and_lengths_of_varying_sizes():
    """One tracing for all batches; what a run finds is cut for each."""
    def model(x):
        (y,) = control.branch(F.gt(F.sum(x), 0.0), lambda: (F.relu(x),), lambda: (x * x,))
        return y, F.masked_select(x, F.gt(x, 0.0))
    program = pyops.compile(model, normal(0, 2, 5), dynamic={"x": {0: (1, 9)}})
    for n in (2, 1, 7, 2):
        for seed in range(3):
            x = normal(seed, n, 5)
            y, found = program(x)
            np.testing.assert_allclose(y, np.maximum(x, 0) if x.sum() > 0 else x * x, rtol=1e-6)
            assert np.array_equal(found, x[x > 0])


def test_an_array_of_too_many_axes_is_not_shortened():
    """Its sizes would be copied to a place that has not room for them."""
    program = _C.Program(NATIVE[-1], 64, [8], [2 * 6 * 4], 1)
    program.add("shorten", ((1, 0, 0, (), 0, "int64"), 2, (0, 1)))
    program.add("relu", (np.zeros((2, *[1] * 38, 6), F32), (2, 0, 0, (2, 6), 0, "float32")))
    with pytest.raises(ValueError, match="do not fit"):
        program.run((np.array(1),), (np.zeros((2, 6), F32),))
