"""The emulator's checker and the matrix of cases still bite: each of the faults seeded in our own
kernels (cuda_mutants.py) is noticed."""
import re
from fnmatch import fnmatch

import pytest
from channels_last_backend import ChannelsLast
from cuda_mutants import MUTANTS
from narrow_backend import check_narrow

from pyops import validate
from pyops.core.backends import BACKENDS
from pyops.core.registry import OPS
from pyops.cuda import emulator, source
from pyops.cuda.emulated import KernelFault
from pyops.cuda.precision import precision

pytestmark = pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing() or "can run")
CLEAN_KERNELS, CLEAN_HEADERS = source.KERNELS, source.HEADERS


def write(path, text):
    if not path.exists() or path.read_text() != text:   # an untouched file keeps its compiled form
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def mutated(text, mutant):
    """The text with the fault in place of what stood there, however its lines are broken."""
    old = re.compile(r"\s*".join(map(re.escape, re.findall(r"\w+|\S", mutant.old))))
    found = list(old.finditer(text))
    assert len(found) > mutant.skip, (f"{mutant.file} no longer holds {mutant.old!r}: choose another fault "
                                      f"like '{mutant.name}'")
    start, end = found[mutant.skip].span()
    return text[:start] + mutant.new + text[end:]


@pytest.fixture
def tree(request, monkeypatch):
    """A copy of all CUDA sources with one fault; launches read it instead of ours."""
    mutant = request.param
    folder = emulator.cache_folder() / "mutants" / re.sub(r"\W+", "-", mutant.name)
    for prefix, clean, pattern in (("", CLEAN_KERNELS, "*/*.cu*"), ("cuda:", CLEAN_HEADERS, "*.cuh")):
        for path in clean.glob(pattern):
            name = path.relative_to(clean)
            text = path.read_text()
            write(folder / ("headers" if prefix else "kernels") / name,
                  mutated(text, mutant) if f"{prefix}{name.as_posix()}" == mutant.file else text)
    monkeypatch.setitem(BACKENDS, ChannelsLast.name, ChannelsLast())
    monkeypatch.setattr(source, "KERNELS", folder / "kernels")
    monkeypatch.setattr(source, "HEADERS", folder / "headers")
    return mutant


def noticed(mutant):
    """What the first case that notices the fault says of it; "" if none does."""
    op = OPS[mutant.op]
    cases = [c for c in op.cases if fnmatch(c.why, mutant.case) and validate.applies(mutant.check, c)]
    assert cases, f"{mutant.op} has no case {mutant.case}"
    for case in cases:
        try:
            if mutant.real in ("f16", "bf16"):
                check_narrow(case, mutant.real)
            else:
                with precision(mutant.precision):
                    validate.CHECKS[mutant.check](op, case, mutant.backend, "f32")
        except KernelFault as fault:
            return str(fault)
        except AssertionError as wrong:
            return f"[result] {wrong}"
    return ""


@pytest.mark.parametrize("tree", MUTANTS, ids=lambda m: m.name, indirect=True)
def test_a_fault_is_noticed(tree):
    said = noticed(tree)
    assert said, f"no case of {tree.op} notices: {tree.name}"
    if tree.notices != "any":
        assert f"[{tree.notices}" in said, said[:500]


@pytest.mark.parametrize("op, why, real",
                         sorted({(m.op, m.case, m.real) for m in MUTANTS if m.real != "f32"}))
def test_without_a_fault_16_bit_types_pass(op, why, real):
    for case in OPS[op].cases:
        if fnmatch(case.why, why):
            check_narrow(case, real)


def test_there_is_a_fault_for_every_kind():
    assert len(MUTANTS) >= 34 and len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert {m.notices for m in MUTANTS} >= {"out-of-bounds", "race", "result"}
