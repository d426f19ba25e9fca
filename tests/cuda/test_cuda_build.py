"""CUDA sources compile for every architecture, within the budget, and their machine code has what
it promises. No GPU is needed."""
import pytest

from pyops.cuda import budget, machine_code, nvrtc

pytestmark = pytest.mark.skipif(bool(nvrtc.missing()), reason=nvrtc.missing() or "can run")


@pytest.fixture(scope="module")
def found():
    return list(budget.measured(budget.fewest(budget.compilations())))


def test_every_kernel_is_within_its_budget(found):
    assert budget.violations(found) == []


@pytest.mark.full
def test_every_form_of_every_kernel_is_within_its_budget():
    """Every type for which architectures differ, every architecture, every macro in every
    type: 650 compilations."""
    assert budget.violations(budget.measured(budget.compilations())) == []


def test_the_fewest_forms_leave_out_no_kernel_type_or_macro():
    every = budget.compilations()
    few = budget.fewest(every)
    assert len(few) < 0.6 * len(every)
    assert {(s.path, s.real) for s, _ in every if s.real != "f16"} == {(s.path, s.real)
                                                                       for s, _ in few if not s.defines}
    assert {(s.path, s.defines) for s, _ in every} == {(s.path, s.defines) for s, _ in few}


def test_nothing_spills():
    assert {name: most[2] for name, most in budget.read_table().items() if most[2]} == {}


def test_forms_are_those_that_host_functions_ask_for():
    """Every reduction, every loss, every width of a head: nobody lists them."""
    from pyops.kernels.attention.launch import WIDTHS
    from pyops.kernels.loss.launch import FORMULAS
    macros = {}
    for source in budget.asked_for():
        macros.setdefault((source.path.parent.name, source.path.name), []).append(dict(source.defines))
    assert {m["FORMULA"] for m in macros["loss", "pointwise.cu"]} == set(FORMULAS)
    assert len({m["REDUCTION"] for m in macros["reduction", "cuda.cu"]}) == 13
    assert {m["SAMPLES"] for m in macros["recurrent", "layer.cu"]} == {1, 2, 4, 8}
    for file in ("tensor.cu", "tensor_backward.cu"):
        assert {(m["HEAD"], m["MASKED"])
                for m in macros["attention", file]} == {(w, masked) for w in WIDTHS for masked in (0, 1)}


def test_the_table_lists_what_there_is(found):
    assert set(budget.read_table()) == {name for name, *_ in found}


def test_a_budget_is_noticed(found, tmp_path, monkeypatch):
    """A table of nothing, and one with too few registers, are violated."""
    name, *_ = next(row for row in found if row[3].registers > 2 * budget.SLACK)
    table = tmp_path / "table.txt"
    table.write_text(f"{name} 1 0 0\n")
    monkeypatch.setattr(budget, "TABLE", table)
    wrong = budget.violations(found)
    assert any("registers" in w and name in w for w in wrong) and any("not in" in w for w in wrong)


def test_a_spill_is_noticed():
    name = next(name for name, (_, _, spills) in budget.read_table().items() if not spills)
    row = (name, "f32", "sm_90", nvrtc.Resources(1, 0, 16, 16))
    assert any("spills" in w for w in budget.violations([row]))


CODE = pytest.mark.skipif(bool(machine_code.missing()), reason=machine_code.missing() or "can run")


@CODE
@pytest.mark.parametrize("promise", machine_code.promises(), ids=lambda p: f"{p[0]}:{p[1]}-{p[2]}-{p[3]}")
def test_machine_code_has_what_is_promised(promise):
    assert machine_code.broken(*promise) == []


@CODE
def test_a_broken_promise_is_noticed():
    assert machine_code.broken("softmax/cuda.cu", "softmax_warp", "f32", "sm_90", ["HMMA", "-SHFL"]) != []
    assert machine_code.broken("softmax/cuda.cu", "softmax_warp", "f32", "sm_90", ["<9"]) != []
    assert machine_code.broken("softmax/cuda.cu", "no_such", "f32", "sm_90", []) != []
