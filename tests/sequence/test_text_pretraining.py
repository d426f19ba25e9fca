"""Every family trains with its dropout: passes differ, the loss of one batch falls, and in evaluation mode
passes are alike."""
import numpy as np
import pytest

import pyops
from pyops import models, optim

RNG = np.random.default_rng(0)
IDS, OTHER = RNG.integers(1, 30, (4, 9)), RNG.integers(1, 30, (4, 7))
WORDS = np.where(RNG.random(IDS.shape) < 0.5, IDS, -100)
MASK = np.arange(9) < np.array([[9], [6], [9], [3]])
FAMILIES = {
    "gpt2": (lambda: models.gpt2(vocab_size=30, n_positions=16, n_embd=16, n_layer=2, n_head=2), (IDS,)),
    "gpt_neox": (lambda: models.pythia("14m", vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                       intermediate_size=32, attention_dropout=0.1, hidden_dropout=0.1), (IDS,)),
    "bert": (lambda: models.bert_base(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                      intermediate_size=32), (IDS, WORDS, np.array([0, 1, 0, 1]), None, MASK)),
    "distilbert": (lambda: models.distilbert(vocab_size=30, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
                   (IDS, WORDS, MASK)),
    "t5": (lambda: models.t5_small(vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2),
           (IDS, OTHER, MASK)),
    "translator": (lambda: models.transformer_base(30, d_model=16, nhead=2, num_layers=2, dim_feedforward=32,
                                                   most_positions=16), (IDS, OTHER, MASK)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains(name):
    make, given = FAMILIES[name]
    pyops.manual_seed(0)
    model = make()
    assert float(model.loss(*given).data) != float(model.loss(*given).data)
    rule = optim.Adam(model.parameters(), 3e-3)

    def untroubled():
        model.eval()
        losses = {float(model.loss(*given).data) for _ in range(2)}
        model.train()
        assert len(losses) == 1
        return losses.pop()
    before = untroubled()
    for _ in range(30):
        rule.zero_grad()
        model.loss(*given).backward()
        rule.step()
    assert untroubled() < 0.8 * before
    assert all(p.grad is not None for p in model.parameters())


def test_generation_refuses_training_mode():
    with pytest.raises(ValueError, match="the model is in training mode; call .eval"):
        FAMILIES["gpt2"][0]().generate([[1]], 2)
    with pytest.raises(ValueError, match="the model is in training mode; call .eval"):
        FAMILIES["t5"][0]().generate([[1]], 2)
