"""Where cases lie and who loads them."""
import subprocess
import sys

from pyops import functional as F
from pyops.core.cases import tables
from pyops.core.registry import OPS
from pyops.names import NAMES


def test_every_list_of_cases_belongs_to_a_row():
    for table in tables():
        assert table and all(table.values())
        assert not table.keys() - OPS.keys(), "cases of rows that there are not"


def test_every_public_function_of_a_row_has_cases():
    """Gradients are tried through the calls that need them; a row that F calls by its own name
    has cases of its own."""
    assert not [name for name in F.__all__ if name in OPS and not OPS[name].cases]


def test_every_public_function_is_named_or_says_why_not():
    assert NAMES.keys() == set(F.__all__)
    for function, row in NAMES.items():
        assert bool(row.why) != bool(row.aten or row.onnx or row.module or row.library or row.ncnn), function


def test_import_loads_no_cases():
    code = "import sys, pyops, pyops.functional; print([m for m in sys.modules if m.endswith('cases')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True).stdout.strip() == "[]"


def test_import_loads_nothing_that_calls_do_not_need():
    """Random generators, host functions of GPU kernels, and the compiler come when
    they are asked for."""
    code = "import sys, pyops, pyops.functional; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            check=True).stdout.split()
    later = ("numpy.random", "hashlib", "pyops.graph", "pyops.nn", "pyops.cuda.source",
             "pyops.cuda.channels_last")
    assert not [m for m in loaded if m in later or m.endswith((".launch", ".hopper"))]
