"""Programs whose arena is full of NaN before each run: what a kernel reads and no kernel wrote shows."""
import io

import numpy as np

import pyops


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def compiled(model, *examples, **options):
    """The program, and the same after a file has held it."""
    program = pyops.compile(model, examples, **options)
    file = io.BytesIO()
    program.save(file)
    file.seek(0)
    loaded = pyops.Program.load(file)
    for p in (program, loaded):
        p._native.poison()
    return program, loaded
