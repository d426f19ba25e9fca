"""What bench.decoding and bench.sequence_models give to ONNX Runtime: our scores and our cache."""
import numpy as np
import pytest

from pyops import models
from pyops.models.sequence.causal import Reading

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_a_step_as_a_graph():
    from pyops.bench import gpt2_onnx
    model = models.gpt2(vocab_size=61, n_embd=24, n_layer=2, n_head=3, n_positions=32).eval()
    reading = Reading(model, [np.arange(7)], 1, False)
    step = gpt2_onnx.of_onnxruntime(gpt2_onnx.step_model(model), 1)
    past = np.ascontiguousarray(reading.cache.data[..., :7, :])
    for place in (7, 8, 9):
        token = reading.scores.argmax(-1)
        scores, past = step(token[:, None], np.array([[place]]), past)
        reading.read(token)
        assert np.abs(scores[:, -1] - reading.scores).max() <= 1e-5 * np.abs(reading.scores).max()
        assert np.abs(past - reading.cache.data[..., :place + 1, :]).max() <= 1e-5


@pytest.mark.parametrize("work", ["bert-128x1", "ragged", "prefill"])
def test_works_beside_a_peer_compare_their_results(work, capsys):
    from pyops.bench import sequence_models
    engines = "ONNX Runtime" if work == "prefill" else "ONNX Runtime,ONNX Runtime fused"
    assert sequence_models.main([work, "--small", "--rounds", "1", "--engines", engines]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("pyops")] and engines.count(",") + 1 == sum(
        line.startswith("ONNX Runtime") for line in lines)


def test_peak_memory_is_printed(capsys):
    from pyops.bench import sequence_memory
    assert sequence_memory.main(["gpt2", "--small", "--engines", "pyops"]) == 0
    assert "pyops " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        sequence_memory.main(["gpt5"])
