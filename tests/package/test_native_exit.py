"""Nothing of Python's may die after Python: what a static of the extension holds is never given
back.

C++ destroys statics when the process ends, after the interpreter; giving back an object then is a
segmentation fault on Python 3.12 and later: right output, and exit code 139 for every script.
"""
import re
import subprocess
import sys
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
COMMENT = re.compile(r"//[^\n]*")
# a variable that lives as long as the process: static anywhere, or declared at the left margin
VARIABLE = re.compile(r"^(?:[ ]*(?:static|thread_local|inline)\s[\w\s]*?|(?=(?:std|py)::))"
                      r"(?P<type>\w[\w:<>, *&]*?)\s+(?P<name>\w+)(?:\[\w*\])?\s*(?P<end>[={;]|\([^()]*\);)",
                      re.M)
OWNER = re.compile(r"(?:py|pybind11)::(?!handle\b|ssize_t\b|detail::)\w+(?!\w|\s*(?:const\s*)?[*&])")


def owners(text):
    """Variables of `text` that own Python objects by value and live as long as the process."""
    # a function is declared
    return [v["name"] for v in VARIABLE.finditer(COMMENT.sub("", text)) if OWNER.search(v["type"])
            and not (v[0].startswith(("py::", "std::")) and v["end"].startswith("("))
            and not re.search(r"[*&](\s*const)?$", v["type"])]


@pytest.mark.parametrize("source", sorted(p for p in CSRC.glob("*.*") if p.suffix in (".cpp", ".h")),
                         ids=lambda p: p.name)
def test_no_static_owns_a_python_object(source):
    assert owners(
        source.read_text()) == [], "let it live on the heap for ever: static T* const x = new T(...)"


@pytest.mark.parametrize("line, found", [
    ('    static py::object names[2] = {py::str("f32"), py::str("f64")};', True),
    ("static std::vector<py::object> all;", True), ('    static const py::str name("f32");', True),
    ("thread_local py::list l{};", True), ("py::dict of_the_module;", True),
    ("std::map<std::string, py::object> kept;", True), ("static thread_local py::object last;", True),
    ("static py::dict* const all = new py::dict;", False), ("static PyTypeObject* type = x;", False),
    ("    py::object local = y;", False), ("static const auto& all = *new std::vector<py::object>;", False),
    ("py::object probe(py::tuple inputs) {", False),
    ("static py::object made(int n) {", False), ("    py::list built;", False), ("py::tuple names();", False),
    ("py::object made(int n);", False), ("static std::vector<py::object>& all = *made;", False)])
def test_the_search_finds_what_it_is_for(line, found):
    assert bool(owners(line)) == found


def test_threads_may_make_the_first_call_together():
    """What the first call looks up lets go of Python's lock: two threads that come to it at once
    must not wait for each other."""
    code = ("import threading, numpy as np, pyops.functional as F\n"
            "x, together = np.ones(8, np.float32), threading.Barrier(4)\n"
            "def call():\n    together.wait()\n    F.relu(x)\n"
            "threads = [threading.Thread(target=call) for _ in range(4)]\n"
            "[t.start() for t in threads]; [t.join() for t in threads]")
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(8)]
    try:
        assert [process.wait(60) for process in running] == [0] * 8
    finally:
        for process in running:
            process.kill()
