"""Programs that keep a recurrent state between calls: its arrays are the last inputs, and the
second part of what the model returns."""
from __future__ import annotations

import numpy as np

from . import structure


def flatten(state, arrays: list[np.ndarray]):
    """Appends the arrays of a state and returns its structure. TypeError for others than
    float32."""
    def take(leaf):
        array = np.asarray(getattr(leaf, "data", leaf) if not isinstance(leaf, np.ndarray) else leaf)
        if array.dtype != np.float32:
            raise TypeError(
                f"compile: the state must be float32 arrays, got {array.dtype}: convert it with .astype")
        arrays.append(array)
        return len(arrays) - 1
    return structure.flatten(state, take)


def leaves(nested, results) -> list:
    """The results at the places in a structure, in order."""
    if isinstance(nested, (tuple, list)):
        return [leaf for part in nested for leaf in leaves(part, results)]
    return [results[nested]] if isinstance(nested, int) else [None]


def checked(program, own: int):
    """The program, if its results are (results, a state like the one it takes); `own`: its inputs
    before the state. ValueError otherwise."""
    returned, wanted = program.plan.structure, program.inputs[own:]
    pair = isinstance(returned, (tuple, list)) and len(returned) == 2 and returned[0] != "constant"
    places = leaves(returned[1], range(len(program.outputs))) if pair else []
    found = [program.outputs[i] if i is not None else None for i in places]
    if found != wanted:
        raise ValueError("compile: with state=, the model must return (results, new state), the state as it "
                         "takes it: " + ", ".join(f"{d}{list(s)}" for s, d in wanted))
    program.plan.states = len(wanted)
    return program


def states_of(program) -> int:
    """How many arrays the state has. ValueError if the program has none."""
    if not program.plan.states:
        raise ValueError(
            "program: it was compiled without a state; give pyops.compile an example of it, state=")
    return program.plan.states
