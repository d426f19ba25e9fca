"""Tokens that are none, by each family: a sentence that names the network and them."""
import numpy as np
import pytest

from pyops import models

WIDE = dict(vocab_size=10, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
MODELS = {
    "GPT2": lambda: models.gpt2(vocab_size=10, n_embd=8, n_layer=1, n_head=2, n_positions=16),
    "GPT3": lambda: models.gpt3("small", vocab_size=10, n_embd=8, n_layer=1, n_head=2, n_positions=16),
    "GPTNeoX": lambda: models.pythia("14m", **WIDE, max_position_embeddings=16),
    "BERT": lambda: models.bert_base(models.BertForTokens, **WIDE, max_position_embeddings=16),
    "DistilBERT": lambda: models.distilbert(vocab_size=10, dim=8, n_layers=1, n_heads=2, hidden_dim=8,
                                            max_position_embeddings=16),
    "T5": lambda: models.t5_small(vocab_size=10, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2),
    "Translator": lambda: models.transformer_base(10, d_model=8, nhead=2, num_layers=1, dim_feedforward=8,
                                                  most_positions=16)}
GOOD = np.array([[1, 2, 3]])
BAD = {"from 0 to 9, got 1 to 10": [[1, 10]], "from 0 to 9, got -1 to 2": [[-1, 2]],
       r"be tokens .N, T., got shape .3,.": [1, 2, 3], r"at least one token in each row, got shape .1, 0.": [[]]}


@pytest.mark.parametrize("said", BAD)
@pytest.mark.parametrize("name", MODELS)
def test_ids(name, said):
    model, ids = MODELS[name]().eval(), np.array(BAD[said], np.int64)
    two = name in ("T5", "Translator")
    with pytest.raises(ValueError, match=f"{name}: {'source' if two else 'ids'} must .*{said}"):
        model(*(ids, GOOD) if two else (ids,))
    if two:
        with pytest.raises(ValueError, match=f"{name}: target must .*{said}"):
            model(GOOD, ids)


@pytest.mark.parametrize("name", MODELS)
def test_types_masks_and_rows(name):
    model = MODELS[name]().eval()
    two = name in ("T5", "Translator")
    with pytest.raises(TypeError, match="must be an integer array, got float32"):
        model(*[GOOD.astype(np.float32)] * (1 + two))
    if two:
        with pytest.raises(ValueError, match=f"{name}: source and target must have as many rows, got 1 and 2"):
            model(GOOD, GOOD.repeat(2, 0))
    if name != "T5":
        with pytest.raises(ValueError, match="17 tokens"):
            model(*[np.ones((1, 17), np.int64)] * (1 + two))
    masked = {"BERT": (GOOD, None), "DistilBERT": (GOOD,), "T5": (GOOD, GOOD), "Translator": (GOOD, GOOD)}
    if name in masked:
        with pytest.raises(ValueError, match=r"mask must have the shape of ids, .1, 3., got .2, 3."):
            model(*masked[name], np.ones((2, 3)))
    if name == "BERT":
        with pytest.raises(ValueError, match=r"BERT: segments must have the shape of ids, .1, 3., got .1, 2."):
            model(GOOD, GOOD[:, :2])
