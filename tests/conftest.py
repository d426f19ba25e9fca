import os
from pathlib import Path

import pytest

# choices as everywhere, whatever was tuned here
os.environ["PYOPS_COSTS"] = str(Path(__file__).with_name("no-costs.json"))
# a fault of ours in a door is an error, not a warning and torch's result
os.environ["PYOPS_RAISE_FAULTS"] = "1"

from tiers import (  # noqa: F401 - hooks of pytest
    pytest_addoption,
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_runtest_protocol,
    pytest_runtest_teardown,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

from pyops.core.backends import BACKENDS, ISAS

NATIVE = [name for name in ISAS if not BACKENDS[name].missing]


def pytest_report_header(config):
    return [f"backend {name}: not run here, {b.missing}" for name, b in BACKENDS.items() if b.missing]


@pytest.fixture(params=NATIVE)
def backend(request):
    """Each instruction set that this CPU and this build have."""
    return request.param
