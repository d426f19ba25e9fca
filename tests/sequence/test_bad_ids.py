"""Tokens that are none, by each family: a sentence that names the network and them."""
import numpy as np
import pytest

from pyops import models, nn

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


@pytest.mark.parametrize("given, said", [
    (dict(ids=["abc"]), "prompt 0 must be a row of at least one token"), (dict(ids={"input_ids": [[1]]}), "got dict"),
    (dict(ids=[[1, [2]]]), r"prompt 0 must be a row of whole numbers, got \[1, \[2\]\]"),
    (dict(temperature="hot"), "temperature must be a number, got 'hot'"),
    (dict(temperature=1.0, top_k=2.5), "top_k must be a whole number, got 2.5"),
    (dict(temperature=1.0, top_p="all"), "top_p must be a number, got 'all'"),
    (dict(num_beams=2.0), "num_beams must be a positive whole number, got 2.0"),
    (dict(num_beams=2, length_penalty=float("nan")), "length_penalty must not be negative, got nan"),
    (dict(num_beams=2, length_penalty="long"), "length_penalty must be a number, got 'long'"),
    (dict(repetition_penalty=None), "repetition_penalty must be a number, got None"),
    (dict(seed="x"), "seed must be a whole number from 0, got 'x'"),
    (dict(seed=-1), "seed must be a whole number from 0"),
    (dict(stream=5), "stream must be a function of a row and a token, got 5")])
@pytest.mark.parametrize("name", ["GPT2", "T5"])
def test_arguments_of_generate_are_named(name, given, said):
    with pytest.raises(ValueError, match=said):
        MODELS[name]().eval().generate(**{"ids": [[1]], "max_new_tokens": 2} | given)


def test_whole_numbers_of_numpy_are_whole_numbers():
    model = MODELS["GPT2"]().eval()
    assert model.generate([[1]], np.int64(3), num_beams=np.int32(2)) == model.generate([[1]], 3, num_beams=2)


def test_lists_for_arrays():
    model = MODELS["BERT"]().eval()
    with pytest.raises(ValueError, match=r"BERT: ids must be an array of tokens \(N, T\), got list"):
        model([[1, 2]])
    assert np.array_equal(model(GOOD, None, [[1, 1, 0]]).data, model(GOOD, None, np.array([[1, 1, 0]])).data)
    with pytest.raises(ValueError, match="BERT: segments must be from 0 to 1, got 0 to 2"):
        model(GOOD, np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="save_transformer: Linear is of no family"):
        models.save_transformer(nn.Linear(2, 2), "nowhere")
