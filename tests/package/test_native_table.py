"""The objects behind the extension: no instruction set leaks into another, and the baseline
uses no wide register."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OBJECTS = sorted((ROOT / "build" / "kernels").glob("*/*.o"))
pytestmark = pytest.mark.skipif(not OBJECTS or not shutil.which("nm"),
                                reason="needs the build folder and binutils")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_an_object_shares_no_symbol_with_another_set(obj):
    """A weak symbol outside the set's namespace could be linked from the AVX-512 object into
    code for older CPUs."""
    isa, real = obj.parent.name.split("-")
    weak = [line.split(" ", 2)[2] for line in run("nm", "-C", str(obj)).splitlines() if line[17:18] in "WVu"]
    assert [s for s in weak if f"{isa}::{real}::" not in s and not s.startswith("DW.ref")] == []


@pytest.mark.parametrize("obj", [o for o in OBJECTS if o.parent.name.startswith(("scalar", "avx2"))],
                         ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_no_register_wider_than_the_set_has(obj):
    wide = r"%zmm|%k[1-7]\b" + ("|%ymm" if obj.parent.name.startswith("scalar") else "")
    found = re.findall(wide, run("objdump", "-d", "--no-show-raw-insn", str(obj)))
    assert not found, f"{obj.parent.name} uses {sorted(set(found))}"
