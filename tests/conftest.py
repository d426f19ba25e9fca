import os
from pathlib import Path

import pytest

os.environ["PYOPS_COSTS"] = str(Path(__file__).with_name("no-costs.json"))   # choices as everywhere, whatever was tuned here

from pyops.backends import BACKENDS, ISAS  # noqa: E402

NATIVE = [name for name in ISAS if not BACKENDS[name].missing]


def pytest_report_header(config):
    return [f"backend {name}: not run here, {b.missing}" for name, b in BACKENDS.items() if b.missing]


@pytest.fixture(params=NATIVE)
def backend(request):
    """Each instruction set that this CPU and this build have."""
    return request.param
