import pytest

from pyops.backends import BACKENDS

NATIVE = [name for name, b in BACKENDS.items() if name != "reference" and not b.missing]


def pytest_report_header(config):
    return [f"backend {name}: not run here, {b.missing}" for name, b in BACKENDS.items() if b.missing]


@pytest.fixture(params=NATIVE)
def backend(request):
    """Each instruction set that this CPU and this build have."""
    return request.param
