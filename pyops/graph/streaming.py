"""Programs that keep a recurrent state between calls: its arrays are the last inputs, and the second part of what the model returns."""
from __future__ import annotations

import numpy as np


def flatten(state, arrays: list[np.ndarray]):
    """Appends the arrays of a state, an array or tuples of them, and returns its structure with positions instead. TypeError for others."""
    if isinstance(state, (tuple, list)):
        return tuple(flatten(s, arrays) for s in state)
    array = np.asarray(getattr(state, "data", state) if not isinstance(state, np.ndarray) else state)
    if array.dtype != np.float32:
        raise TypeError(f"compile: the state must be float32 arrays, got {array.dtype}: convert it with .astype")
    arrays.append(array)
    return len(arrays) - 1


def unflatten(places, values):
    """The state whose arrays are `values`."""
    return tuple(unflatten(p, values) for p in places) if isinstance(places, tuple) else values[places]


def leaves(structure, results) -> list:
    """The results at the positions in a structure (trace.flatten), in order."""
    if isinstance(structure, (tuple, list)):
        return [leaf for part in structure for leaf in leaves(part, results)]
    return [results[structure]] if isinstance(structure, int) else [None]


def checked(program, own: int):
    """The program, if its results are (results, a state like the one it takes); `own`: its inputs before the state. ValueError otherwise."""
    structure, wanted = program.plan.structure, program.inputs[own:]
    pair = isinstance(structure, (tuple, list)) and len(structure) == 2 and structure[0] != "constant"
    places = leaves(structure[1], range(len(program.outputs))) if pair else []
    found = [program.outputs[i] if i is not None else None for i in places]
    if found != wanted:
        raise ValueError("compile: with state=, the model must return (results, new state), the state as it takes it: "
                         + ", ".join(f"{d}{list(s)}" for s, d in wanted))
    program.plan.states = len(wanted)
    return program


def states_of(program) -> int:
    """How many arrays the state has. ValueError if the program has none."""
    if not program.plan.states:
        raise ValueError("program: it was compiled without a state; give pyops.compile an example of it, state=")
    return program.plan.states
