"""T5 1.0 and 1.1 against transformers: scores, gradients, texts, files."""
import numpy as np
import pytest

from pyops import models, nn
from pyops.files import safetensors
from pyops.models.sequence.encoder_decoder import Writing
from pyops.models.sequence.positions import distance_buckets

peers = pytest.importorskip("transformers_peers")
torch = peers.torch
RNG = np.random.default_rng(0)
SOURCE, TARGET = RNG.integers(2, 97, (3, 30)), RNG.integers(2, 97, (3, 11))
MASK = (np.arange(30) < np.array([[30], [9], [4]])).astype(np.int64)
TINY = dict(vocab_size=97, d_model=32, d_kv=6, d_ff=48, num_layers=2, num_decoder_layers=3, num_heads=4,
            relative_attention_num_buckets=8, relative_attention_max_distance=20, dropout_rate=0.0,
            decoder_start_token_id=0)


def pair(tmp_path, **settings):
    theirs = peers.peer("T5ForConditionalGeneration", "T5Config", **TINY | settings)
    return theirs, peers.ours(theirs, tmp_path)


@pytest.mark.parametrize("settings", [{}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}])
def test_scores_and_gradients_are_transformers(settings, tmp_path):
    theirs, model = pair(tmp_path, **settings)
    assert set(model.state_dict()) == set(theirs.state_dict())
    if settings:   # they share the head's weights all the same
        model.lm_head.weight = model.shared.weight
    begun = np.concatenate([np.zeros((3, 1), np.int64), TARGET[:, :-1]], 1)

    def scores():
        return theirs(input_ids=torch.tensor(SOURCE), attention_mask=torch.tensor(MASK),
                      decoder_input_ids=torch.tensor(begun)).logits
    peers.close(model(SOURCE, begun, MASK), scores(), 1e-5)
    theirs, model = theirs.double(), model.double()
    loss = torch.nn.functional.cross_entropy(scores().flatten(0, 1), torch.tensor(TARGET).flatten())
    # their norm is computed in float32
    peers.same_gradients(model, theirs, model.loss(SOURCE, TARGET, MASK), loss, same_loss=1e-7)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("buckets, most", [(32, 128), (8, 20), (64, 500)])
def test_buckets_are_transformers(buckets, most, bidirectional):
    theirs = peers.transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket
    found = distance_buckets(buckets, most, bidirectional)
    distance = np.arange(-3 * most, 3 * most + 1)
    wanted = theirs(torch.tensor(distance), bidirectional, buckets, most).numpy()
    assert np.array_equal(found[np.clip(distance, -most, most) + most], wanted)


def test_version_1_1_has_output_weights_of_its_own(tmp_path):
    model = models.t5_small(**TINY | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}).eval()
    assert not np.array_equal(model.lm_head.weight.data, model.shared.weight.data)
    models.save_transformer(model, tmp_path)
    again = models.load_transformer(tmp_path)
    begun = np.concatenate([np.zeros((3, 1), np.int64), TARGET[:, :-1]], 1)
    assert np.array_equal(again(SOURCE, begun).data, model(SOURCE, begun).data)


@pytest.mark.parametrize("compiled", [False, True])
def test_texts_are_transformers(compiled, tmp_path):
    theirs, model = pair(tmp_path, num_decoder_layers=2)   # their cache takes as many as the encoder has
    sources = [row[:n].tolist() for row, n in zip(SOURCE, (30, 9, 4))]

    def theirs_of(source, **how):
        ids = torch.tensor([source])
        found = theirs.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12,
                                eos_token_id=None, **how)
        return found[0, 1:].tolist()
    assert model.generate(sources, 12, compiled=compiled) == [theirs_of(s) for s in sources]
    wanted = [theirs_of(s, num_beams=4, length_penalty=0.0) for s in sources]
    assert model.generate(sources, 12, num_beams=4, compiled=compiled) == wanted
    # over more entries than the cache begins with, and more distance than there are buckets for
    writing, text = Writing(model, [np.array(s) for s in sources], 1, compiled), np.zeros((3, 1), np.int64)
    for i in range(70):
        text = np.concatenate([text, RNG.integers(2, 97, (3, 1))], 1)
        writing.read(text[:, -1])
    whole = np.stack([model(np.array([s]), row[None]).data[0, -1] for s, row in zip(sources, text)])
    assert np.abs(writing.scores - whole).max() <= 2e-6 * np.abs(whole).max()


def test_a_saved_folder_is_transformers(tmp_path):
    theirs, model = pair(tmp_path / "theirs")
    models.save_transformer(model, tmp_path / "ours")
    again = peers.transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "ours").eval()
    given = dict(input_ids=torch.tensor(SOURCE), decoder_input_ids=torch.tensor(TARGET))
    assert torch.equal(again(**given).logits, theirs(**given).logits)


def test_published_size():
    with nn.init.skip_draws():
        assert sum(p.data.size for p in models.t5_small().parameters()) == 60_506_624


def test_buckets_out_of_range_are_refused():
    for buckets, most in ((2, 128), (32, 16), (1, 5)):
        with pytest.raises(ValueError, match=f"at least 4 .* got {buckets} and {most}"):
            models.T5Configuration(relative_attention_num_buckets=buckets, relative_attention_max_distance=most)
    with pytest.raises(ValueError, match="num_decoder_layers must be a positive whole number, got 0"):
        models.T5Configuration(num_decoder_layers=0)


def test_a_folder_without_the_output_weights_gives_them_memory_of_their_own(tmp_path):
    """They are drawn from the words' once: training one is not training the other."""
    model = models.t5_small(**TINY | {"tie_word_embeddings": False})
    state = {key: array for key, array in model.state_dict().items() if key != "lm_head.weight"}
    models.save_transformer(model, tmp_path)
    safetensors.save(tmp_path / "model.safetensors", state, {})
    again = models.load_transformer(tmp_path)
    head, words = again.lm_head.weight.data, again.shared.weight.data
    assert np.array_equal(head, words) and not np.shares_memory(head, words)
