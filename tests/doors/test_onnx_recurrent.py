"""Recurrent layers of ONNX files with lengths and peepholes: by the kernels, in Programs."""

import numpy as np
import pytest

from pyops.graph.program import Program

pytest.importorskip("onnx")
from onnx import helper
from onnx_files import FLOAT, INT, file, floats, reference

import pyops.onnx as door

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
GATES, STEPS, SAMPLES, INPUTS, HIDDEN = {"RNN": 1, "LSTM": 4, "GRU": 3}, 6, 4, 3, 5


def layer(cell, way, samples=SAMPLES, steps=STEPS, lengths=None, **attrs):
    """A model of a layer; its states are inputs, its lengths one or a constant."""
    directions, gates = 2 if way == "bidirectional" else 1, GATES[cell]
    held = {"w": floats(directions, gates * HIDDEN, INPUTS), "r": floats(directions, gates * HIDDEN, HIDDEN) / 2,
            "b": floats(directions, 2 * gates * HIDDEN)}
    state = (FLOAT, (directions, samples, HIDDEN))
    inputs = {"x": (FLOAT, (steps, samples, INPUTS)), "h": state, **({"c": state} if cell == "LSTM" else {})}
    if lengths is not None:
        held["n"] = lengths
    cells = ["c"] if cell == "LSTM" else []
    made = helper.make_node(cell, [*"xwrb", "" if lengths is None else "n", "h", *cells],
                            ["y", "e", *(["f"] if cells else [])], hidden_size=HIDDEN, direction=way, **attrs)
    return file([made], inputs, dict.fromkeys(made.output, (FLOAT, None)), held)


def given(cell, way, samples=SAMPLES):
    directions = 2 if way == "bidirectional" else 1
    states = [floats(directions, samples, HIDDEN, seed=i) for i in range(2 if cell == "LSTM" else 1)]
    return [floats(STEPS, samples, INPUTS), *states]


@pytest.mark.parametrize("way", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("cell", GATES)
def test_a_sample_of_a_length_is_as_if_alone(cell, way):
    attrs = {"linear_before_reset": 1} if cell == "GRU" else {}
    lengths, (x, *states) = np.array([6, 2, 1, 4], np.int32), given(cell, way)
    program = door.load(layer(cell, way, lengths=lengths, **attrs))
    assert isinstance(program, Program), program
    y, *ends = program(x, *states)
    for i, n in enumerate(lengths):
        alone = reference(layer(cell, way, samples=1, steps=int(n), **attrs), x[:n, i : i + 1],
                          *(s[:, i : i + 1] for s in states))
        np.testing.assert_allclose(y[:n, :, i : i + 1], alone[0], atol=1e-5)
        assert not y[n:, :, i].any()
        for got, want in zip(ends, alone[1:], strict=True):
            np.testing.assert_allclose(got[:, i : i + 1], want, atol=1e-5)


@pytest.mark.parametrize("cell", GATES)
def test_lengths_that_are_given_are_numbers_of_a_program(cell):
    """Another Program for others; an empty sequence goes step by step."""
    model = layer(cell, "forward", lengths=np.array([6, 2, 1, 4], np.int32),
                  **({"linear_before_reset": 1} if cell == "GRU" else {}))
    fixed = door.load(model)
    model.graph.initializer.remove(next(t for t in model.graph.initializer if t.name == "n"))
    model.graph.input.append(helper.make_tensor_value_info("n", INT, (SAMPLES,)))
    loaded, (x, *states) = door.load(model), given(cell, "forward")
    lengths = np.array([6, 2, 1, 4], np.int32)
    for got, want in zip(loaded(x, *states, lengths), fixed(x, *states), strict=True):
        np.testing.assert_array_equal(got, want)
    assert isinstance(loaded.program_for(x, *states, lengths), Program)
    y, end, *_ = loaded(x, *states, np.array([0, 6, 6, 6], np.int32))
    assert not y[:, :, 0].any() and np.isfinite(end).all()
    with pytest.raises(door.ModelError, match="sequence_lens must be 4 numbers from 0 to 6"):
        loaded(x, *states, np.array([7, 6, 6, 6], np.int32))


def test_peepholes():
    """Of the input, output and forget gates, which see the cell; and with lengths, too."""
    x, p = floats(STEPS, SAMPLES, INPUTS), floats(1, 3 * HIDDEN)
    held = {"w": floats(1, 4 * HIDDEN, INPUTS), "r": floats(1, 4 * HIDDEN, HIDDEN) / 2,
            "b": floats(1, 8 * HIDDEN), "h": floats(1, SAMPLES, HIDDEN), "p": p,
            "c": floats(1, SAMPLES, HIDDEN, seed=1)}
    made = helper.make_node("LSTM", ["x", "w", "r", "b", "", "h", "c", "p"], ["y", "e", "f"], hidden_size=HIDDEN)
    model = file([made], {"x": (FLOAT, x.shape)}, dict.fromkeys("yef", (FLOAT, None)), held)
    program = door.load(model)
    assert isinstance(program, Program), program
    for got, want in zip(program(x), reference(model, x), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
