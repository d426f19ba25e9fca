import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ["PYOPS_COSTS"] = str(Path(__file__).with_name("no-costs.json"))   # choices as everywhere, whatever was tuned here
os.environ["PYOPS_RAISE_FAULTS"] = "1"   # a fault of ours in a door is an error, not a warning and torch's result

import tiers
from tiers import (  # noqa: F401 - hooks of pytest
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_runtest_protocol,
    pytest_terminal_summary,
)

from pyops.core.backends import BACKENDS, ISAS

NATIVE = [name for name in ISAS if not BACKENDS[name].missing]


def pytest_report_header(config):
    return [f"backend {name}: not run here, {b.missing}" for name, b in BACKENDS.items() if b.missing]


# The hundreds of CUDA forms that test_cuda_build.py looks at take minutes to compile the first time. Where other tests come before it, that is begun
# at once, with what they leave of the processors; what is not ready by then the test compiles itself.
_compiling: list[subprocess.Popen] = []
WORTH_WHILE = 50   # tests before


def pytest_collection_finish(session):
    before = next((i for i, item in enumerate(session.items) if item.path.name == "test_cuda_build.py"), 0)
    if before >= WORTH_WHILE and not session.config.option.collectonly:
        _compiling.append(subprocess.Popen([sys.executable, "-m", "pyops.cuda.budget"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                           preexec_fn=lambda: os.nice(19)))


def pytest_sessionfinish(session, exitstatus):
    tiers.pytest_sessionfinish(session, exitstatus)
    for process in _compiling:
        process.kill()
        process.wait()


@pytest.fixture(params=NATIVE)
def backend(request):
    """Each instruction set that this CPU and this build have."""
    return request.param
