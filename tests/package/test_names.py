"""The table of names: every public function is in it, every name in it exists where it is said to,
and the doors read it both ways.
"""

import pytest

from pyops import functional as F, names


def test_every_function_is_named_or_says_why_not():
    assert set(names.NAMES) == set(F.__all__)
    for function, row in names.NAMES.items():
        named = [*row.aten, *row.onnx, *row.module, *row.ncnn, row.library]
        assert any(named) != bool(row.why), function


def test_both_directions():
    assert names.ours("onnx")["Relu"] == "relu" and names.only("relu", "onnx") == "Relu"
    assert (
        names.ours("aten")["aten.mm.default"] == "matmul"
        and names.ours("library")["attention"] == "scaled_dot_product_attention"
    )
    for kind in ("aten", "module", "library"):  # such a name is of one function only
        every = [
            n
            for row in names.NAMES.values()
            for n in ([getattr(row, kind)] if kind == "library" else getattr(row, kind))
            if n
        ]
        assert len(every) == len(set(every)) == len(names.ours(kind))


def test_names_at_torch_exist():
    torch = pytest.importorskip("torch")
    from pyops.torch.aten import ADAPTERS, COMPOSED, TABLE
    from pyops.torch.library import OPERATORS
    from pyops.torch.replace import FORWARD, LAYERS

    ours = names.ours("aten")
    for overload in [*ours, *COMPOSED]:
        _, packet, form = overload.split(".")
        assert isinstance(getattr(getattr(torch.ops.aten, packet), form), torch._ops.OpOverload)
    assert set(ADAPTERS) <= set(ours) and not set(COMPOSED) & set(ours)
    assert {op for op in TABLE if op.startswith("aten.")} == set(ours) | set(COMPOSED)
    for row in names.NAMES.values():
        assert all(issubclass(getattr(torch.nn, module), torch.nn.Module) for module in row.module)
    assert set(OPERATORS) == set(names.ours("library"))
    assert set(FORWARD) == {
        getattr(torch.nn, m) for m, function in names.ours("module").items() if function in LAYERS
    }


def test_names_at_onnx_exist_and_are_read():
    defs = pytest.importorskip("onnx.defs")
    operators = {schema.name for schema in defs.get_all_schemas()}
    from pyops.onnx.ops import OPS

    theirs = {name for row in names.NAMES.values() for name in row.onnx}
    assert theirs <= operators
    assert theirs <= set(OPS)


def test_exporters_write_these_names():
    pytest.importorskip("onnx")
    from pyops.bench import ncnn_model, onnx_model

    assert set(onnx_model.NODES) | set(ncnn_model.LAYERS) <= set(names.NAMES)
    assert all(len(names.NAMES[name].onnx) == 1 for name in onnx_model.PLAIN)
