"""The pyops command: what it prints, what it returns, and what it says when asked for something
that is not there."""
import dataclasses
import os
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest

from pyops import cli, machine
from pyops.core import backends, registry, threads


def test_info_says_what_was_chosen_and_why(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    for needed in (machine.cpu_model(), backends.active.get().name, threads.default_threads()[1], "openblas",
                   "optional packages"):
        assert needed in text


def test_info_names_the_variable_that_chose():
    run = subprocess.run([sys.executable, "-m", "pyops", "info"], capture_output=True, text=True, check=True,
                         env={**os.environ, "PYOPS_MAX_ISA": "scalar", "PYOPS_NUM_THREADS": "1"})
    assert "PYOPS_MAX_ISA=scalar" in run.stdout and "PYOPS_NUM_THREADS" in run.stdout


def test_a_reader_that_stops_is_no_error():
    run = subprocess.run(f"{sys.executable} -m pyops info | head -1", shell=True, capture_output=True,
                         text=True)
    assert run.stdout.startswith("pyops") and "Traceback" not in run.stderr


def test_ceilings_are_rates_of_this_machine(backend):
    c = machine.ceilings(backend, "f32", 1, seconds=0.001)
    assert c.gflops > 0.1 and all(rate > 0.1 for _, _, rate in c.bandwidth)
    assert c.bandwidth[-1][0] == machine.MEMORY and c.gbytes(1e15) == c.bandwidth[-1][2]
    assert c.attainable(c.gflops * 1e9, 0) == pytest.approx(1)


def test_validate_passes_and_writes_junit(tmp_path, capsys):
    report = tmp_path / "junit.xml"
    assert cli.main(["validate", "--op", "layer_norm", "--case", "cols*", "--junit", str(report)]) == 0
    suite = xml.parse(report).getroot()
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.get("tests")) > 0 and suite.get("failures") == "0"
    assert all(c.get("name").startswith("layer_norm-cols") for c in cases)
    assert "layer_norm" in capsys.readouterr().out


def test_validate_finds_a_wrong_result(tmp_path, capsys):
    """A row whose tolerance nothing can meet stands for a wrong kernel."""
    row = registry.OPS.pop("layer_norm")
    try:
        dataclasses.replace(row, tolerance=-1.0)   # registers itself; copy.copy would give the row itself
        report = tmp_path / "junit.xml"
        status = cli.main(["validate", "--op", "layer_norm", "--case", "no_weight", "--junit", str(report)])
    finally:
        registry.OPS["layer_norm"] = row
    assert status == 1
    assert "FAILED layer_norm" in capsys.readouterr().out
    assert xml.parse(report).getroot().find("testcase/failure") is not None


@pytest.mark.parametrize("arguments, closest", [(["validate", "--op", "layernorm"], "layer_norm"),
                                                (["validate", "--backend", "avx215"], "avx2")])
def test_a_name_that_is_not_there_gets_the_closest(arguments, closest, capsys):
    assert cli.main(arguments) == 2
    assert closest in capsys.readouterr().err


def test_a_case_that_is_not_there(capsys):
    assert cli.main(["validate", "--case", "nothing_like_it"]) == 2
