"""Every case of every row, and the chains of kernels/*/cases.py, as compiled programs."""
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from joined import check_each

import pyops
import pyops.functional as F
from pyops import validate, validate_compiled
from pyops.core.backends import active
from pyops.core.cases import A, chain
from pyops.core.registry import OPS
from pyops.graph import packing
from pyops.graph.lowering.context import Lowering
from pyops.graph.passes import bytes_products, fold_batch_norm
from pyops.validate import Refused

ROOT = Path(__file__).parents[2]
COMPILED = [(op, case) for op, case, check in validate.checks() if check == "compiled"]
# What no program computes, and why. All else must.
REFUSED = {
    **dict.fromkeys(("dropout", "attention_dropped"), "a compiled program would drop the same values in every run"),
    # the array given at run time is the one that cat leaves out
    "cat-legacy_empty": "nothing that depends on its inputs",
}


def refusal(op, case):
    identity = case.why in ("evaluation", "nothing_dropped")
    return None if identity else REFUSED.get(op.name, REFUSED.get(f"{op.name}-{case.why}"))


@pytest.mark.parametrize("op", dict.fromkeys(op for op, _ in COMPILED), ids=lambda op: op.name)
def test_cases(op, backend):
    def check(case):
        if wanted := refusal(op, case):
            with pytest.raises(Refused, match=wanted):
                validate.check_compiled(op, case, backend, "f32")
        else:
            validate.check_compiled(op, case, backend, "f32")
    check_each(((f"{case.call}-{case.why}", case) for row, case in COMPILED if row is op), check)


def test_every_kernel_of_programs_is_in_some_case(monkeypatch):
    """Every row of program.inc is a step of a compiled case, or packs weights for one."""
    called = set()

    class Recorded:
        def __init__(self, kernels):
            self.kernels = kernels

        def __getattr__(self, name):
            called.add(name)
            return getattr(self.kernels, name)
    kernels = Lowering.kernels.fget
    monkeypatch.setattr(Lowering, "kernels", property(lambda self: Recorded(kernels(self))))
    for module in (packing, fold_batch_norm):   # which look at weights and scale them
        monkeypatch.setattr(module, "active", SimpleNamespace(
            get=lambda: SimpleNamespace(f32=Recorded(active.get().f32))))
    monkeypatch.setattr(validate_compiled, "run",
                        lambda program, inputs: called.update(s.kernel for s in program.steps) or [])
    monkeypatch.setattr(validate_compiled, "expected", lambda case, dtype: [])
    monkeypatch.setattr(bytes_products, "fast", lambda: True)
    for op, case in COMPILED:
        if case.chain or op.name in ("conv", "conv_transpose", "permute"):
            validate_compiled.check(op, case, "scalar")
    for weights in ("int8", "bf16"):   # which no case of a row asks for
        for rows in (1, 40):
            x, weight = np.ones((rows, 48), np.float32), np.ones((64, 48), np.float32)
            program = pyops.compile(lambda x, w=weight: F.linear(x, w), x, weights=weights)
            called.update(s.kernel for s in program.steps)
    monkeypatch.setenv("PYOPS_FORCE_ALGO", "stride_two")   # whose filters are made in the run
    pyops.compile(lambda x: F.conv_transpose2d(x, np.ones((16, 16, 4, 4), np.float32), stride=2, padding=1),
                  np.ones((1, 16, 12, 12), np.float32), memory="lean")
    rows = [name for file in (*ROOT.glob("csrc/program.inc"), *ROOT.glob("kernels/*/program.inc"))
            for name in re.findall(r"^[A-Z_]*KERNEL\((\w+),", file.read_text(), flags=re.M)]
    assert len(rows) >= 27
    assert not set(rows) - called, sorted(set(rows) - called)


def planted(monkeypatch, change):
    """A fault put into every program that is run; the message of the check that sees it."""
    run = validate_compiled.run
    monkeypatch.setattr(validate_compiled, "run", lambda program, inputs: change(run, program, inputs))
    case = chain("planted", lambda F, x, w: F.relu(F.conv2d(x, w)), A(2, 20, 3, 5), A(17, 20, 1, 1))
    with pytest.raises(AssertionError) as caught:
        validate_compiled.check(OPS["conv"], case, "scalar")
    return str(caught.value)


def test_a_fault_is_seen(monkeypatch):
    """The check fails where results are off, depend on threads or on the batch, or where a step
    that writes is left out.
    """
    with monkeypatch.context() as m:
        assert "output 0: off by" in planted(m, lambda run, p, x: [1.001 * y for y in run(p, x)])
    with monkeypatch.context() as m:
        assert "number of threads" in planted(m, lambda run, p, x: [y + np.float32(1e-6 * p.threads)
                                                                    for y in run(p, x)])
    with monkeypatch.context() as m:
        assert "batch size" in planted(m,
                                       lambda run, p, x: [y + np.float32(1e-7 * len(y)) for y in run(p, x)])


def test_what_nothing_wrote_is_nan(monkeypatch):
    """The arena and the results are poisoned: without its first step, the program's result is
    NaN."""
    native = validate_compiled.Program.__init__

    def without_first_step(self, plan, *args, **kwargs):
        steps, plan.steps = plan.steps, plan.steps[1:]
        native(self, plan, *args, **kwargs)
        plan.steps = steps
    monkeypatch.setattr(validate_compiled.Program, "__init__", without_first_step)
    assert "off by nan" in planted(monkeypatch, lambda run, p, x: run(p, x))
