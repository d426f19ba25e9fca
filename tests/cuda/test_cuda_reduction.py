"""What joins the chunks of a long reduction: sizes that take lanes of a warp and a whole block, results that
lie side by side and apart."""
import numpy as np
import pytest

from pyops.cuda.backend import EMULATED
from pyops.cuda.emulated import EmulatedDevice
from pyops.kernels.reduction.launch import join

pytestmark = pytest.mark.skipif(bool(EMULATED.missing), reason=EMULATED.missing or "can run")
OUTPUTS = 5


@pytest.mark.parametrize("apart", [False, True], ids=["side_by_side", "apart"])
@pytest.mark.parametrize("chunks", [2, 37, 1024, 1025, 3000])
def test_chunks_are_joined(chunks, apart):
    parts = np.random.default_rng(chunks).standard_normal((OUTPUTS, chunks)).astype(np.float32)
    device, places = EmulatedDevice("f32"), (1, OUTPUTS) if apart else (chunks, 1)
    lying, y = np.ascontiguousarray(parts.T if apart else parts), EmulatedDevice("f32").empty((OUTPUTS,))
    join(device, "Largest", lying, None, y, chunks, *places, 0.0)
    assert np.array_equal(y, parts.max(1))
    join(device, "Total", lying, None, y, chunks, *places, 0.5)
    want = 0.5 * parts.astype(np.float64).sum(1)
    assert np.abs(y - want).max() <= (8 + chunks / 32) * 2.0 ** -24 * np.abs(parts).sum(1).max()
