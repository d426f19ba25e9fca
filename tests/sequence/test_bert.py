"""BERT, DistilBERT and distillation against transformers and torch."""
import numpy as np
import pytest

import pyops
from pyops import models, nn

peers = pytest.importorskip("transformers_peers")
torch, T = peers.torch, peers.torch.nn.functional
RNG = np.random.default_rng(0)
IDS, SEGMENTS = RNG.integers(1, 97, (3, 17)), RNG.integers(0, 2, (3, 17))
MASK = (np.arange(17) < np.array([[17], [9], [4]])).astype(np.int64)
WORDS = np.where(RNG.random((3, 17)) < 0.3, IDS, -100)
BERT = dict(vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
            max_position_embeddings=24, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
DISTIL = dict(vocab_size=97, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=24, dropout=0.0,
              attention_dropout=0.0, seq_classif_dropout=0.0, qa_dropout=0.0)


LENGTHS = (17, 3, 9, 24, 1, 12, 5, 24)


@pytest.mark.parametrize("head", ["BertForPreTraining", "BertForMaskedLM", "BertForSequenceClassification",
                                  "BertForTokenClassification", "BertForQuestionAnswering"])
def test_ragged_texts_are_as_alone_and_as_padded(head, tmp_path):
    theirs = peers.peer(head, "BertConfig", **BERT | {"num_labels": 2})
    model = peers.ours(theirs, tmp_path)
    texts = [RNG.integers(1, 97, n) for n in LENGTHS]
    segments = [RNG.integers(0, 2, n) for n in LENGTHS]
    ids, kinds, mask = (np.array([np.pad(a, (0, 24 - len(a))) for a in rows])
                        for rows in (texts, segments, [np.ones_like(t) for t in texts]))
    padded = outputs(theirs(*map(torch.tensor, (ids, mask, kinds))))
    for compiled in (True, False):
        found = model.ragged(texts, segments, compiled)
        found = found if isinstance(found, tuple) else (found,)
        for a, wanted in zip(found, padded, strict=True):
            for i, n in enumerate(LENGTHS):
                peers.close(a[i], wanted[i, :n] if isinstance(a, list) else wanted[i], 1e-5)
    again = model.ragged(texts[:3])   # of other sizes, without segments
    again = again[0] if isinstance(again, tuple) else again
    alone = model(texts[1][None])
    alone = alone[0] if isinstance(alone, tuple) else alone
    peers.close(again[1], alone.data[0], 1e-5)


def test_rows_hold_every_text_once():
    from pyops.models.sequence.packing import rows
    texts = [np.arange(n) + 100 * i for i, n in enumerate(RNG.integers(1, 65, 40))]
    found = rows(texts)
    assert found.ids.shape[1] == 64 and len(found.ids) * 64 < 1.2 * sum(map(len, texts))
    for i, (text, (row, begin)) in enumerate(zip(texts, found.places)):
        here = row, slice(begin, begin + len(text))
        assert np.array_equal(found.ids[here], text) and (found.begin[here] == begin).all() and (
            found.end[here] == begin + len(text)).all()
        assert np.array_equal(found.positions[here], np.arange(len(text)))
    assert (found.end > 0).sum() == sum(map(len, texts))


@pytest.mark.parametrize("texts, segments, said", [
    ([], None, "there is no text"), ([[1], []], None, "text 1 must be a row of 1 to 24 tokens, got shape .0,."),
    ([[1] * 25], None, "text 0 must be a row of 1 to 24"), ([[1, 97]], None, "from 0 to 96, got int64 from 1 to 97"),
    ([[1.5]], None, "text 0 must be whole numbers"), ([[1, 2]], [[0]], r"segments must count .* \[2\], got \[1\]"),
    ([[1, 2]], [[0, 2]], "segments 0 must be whole numbers from 0 to 1")])
def test_ragged_refuses_by_name(texts, segments, said):
    model = models.bert_base(models.BertForTokens, **BERT).eval()
    with pytest.raises(ValueError, match="ragged: .*" + said):
        model.ragged(texts, segments)
    with pytest.raises(ValueError, match="training mode"):
        model.train().ragged([[1]])


def outputs(found):
    """Their result's arrays."""
    return [v for k, v in found.items() if k != "loss"]


@pytest.mark.parametrize("head", ["BertForPreTraining", "BertForMaskedLM", "BertForSequenceClassification",
                                  "BertForTokenClassification", "BertForQuestionAnswering"])
def test_bert(head, tmp_path):
    labels = {"num_labels": 5} if "Classification" in head else {}
    theirs = peers.peer(head, "BertConfig", **BERT, **labels)
    model = peers.ours(theirs, tmp_path)
    assert set(model.state_dict()) == set(theirs.state_dict())
    given = [torch.tensor(a) for a in (IDS, MASK, SEGMENTS)]
    for dtype, bound in (("float", 1e-5), ("double", 1e-10)):
        theirs, model = getattr(theirs, dtype)(), getattr(model, dtype)()
        found = model(IDS, SEGMENTS, MASK)
        wanted = outputs(theirs(*given))
        for a, b in zip(found if isinstance(found, tuple) else [found], wanted, strict=True):
            peers.close(a, b, bound)
        compiled = pyops.compile(model, (IDS, SEGMENTS, MASK != 0))(IDS, SEGMENTS, MASK != 0)
        for a, b in zip(compiled if isinstance(compiled, tuple) else [compiled], wanted, strict=True):
            peers.close(a, b, bound)
    found = found if isinstance(found, tuple) else (found,)
    from pyops import functional as F
    drawn = [RNG.standard_normal(a.shape) for a in found]
    loss = sum((F.sum(F.mul(a, g)) for a, g in zip(found, drawn)), 0.0)
    peers.same_gradients(model, theirs, loss, sum((a * torch.tensor(g)).sum() for a, g in zip(wanted, drawn)))
    models.save_transformer(model.float(), tmp_path / "saved")
    again = getattr(peers.transformers, head).from_pretrained(tmp_path / "saved").eval()
    peers.close(outputs(again(*given))[0].detach().numpy(), outputs(theirs.float()(*given))[0], 1e-6)


@pytest.mark.parametrize("head", ["DistilBertForMaskedLM", "DistilBertForSequenceClassification",
                                  "DistilBertForTokenClassification", "DistilBertForQuestionAnswering"])
def test_distilbert(head, tmp_path):
    theirs = peers.peer(head, "DistilBertConfig", **DISTIL)
    model = peers.ours(theirs, tmp_path)
    assert set(model.state_dict()) == set(theirs.state_dict())
    theirs, model = theirs.double(), model.double()
    found, wanted = model(IDS, MASK), outputs(theirs(torch.tensor(IDS), torch.tensor(MASK)))
    found = found if isinstance(found, tuple) else (found,)
    for a, b in zip(found, wanted, strict=True):
        peers.close(a, b, 1e-10)
    from pyops import functional as F
    drawn = [RNG.standard_normal(a.shape) for a in found]
    loss = sum((F.sum(F.mul(a, g)) for a, g in zip(found, drawn)), 0.0)
    peers.same_gradients(model, theirs, loss, sum((a * torch.tensor(g)).sum() for a, g in zip(wanted, drawn)))


def test_pre_training_loss(tmp_path):
    theirs = peers.peer("BertForPreTraining", "BertConfig", **BERT).double()
    model = peers.ours(theirs.float(), tmp_path).double()
    theirs = theirs.double()
    follows = np.array([0, 1, 1])
    wanted = theirs(*(torch.tensor(a) for a in (IDS, MASK, SEGMENTS)), labels=torch.tensor(WORDS),
                    next_sentence_label=torch.tensor(follows)).loss
    peers.same_gradients(model, theirs, model.loss(IDS, WORDS, follows, SEGMENTS, MASK), wanted)


def test_published_sizes():
    with nn.init.skip_draws():
        counts = [sum(p.data.size for p in make().parameters()) for make in (models.bert_base, models.distilbert)]
    assert counts == [110_106_428, 66_985_530]


def test_a_fresh_head_on_a_trunk(tmp_path):
    theirs = peers.peer("BertForMaskedLM", "BertConfig", **BERT)
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="missing: classifier.weight"):
        models.load_transformer(tmp_path, "BertForTokenClassification")
    model = models.load_transformer(tmp_path, "BertForTokenClassification", fresh_head=True)
    wanted = theirs.bert(*(torch.tensor(a) for a in (IDS, MASK, SEGMENTS)))[0]
    peers.close(model.bert(IDS, SEGMENTS, MASK), wanted, 1e-5)
    assert 0 < model.classifier.weight.data.std() < 0.1


def test_distillation_loss_is_the_papers():
    s, t = (RNG.standard_normal((3, 17, 97)) for _ in range(2))
    hs, ht = (RNG.standard_normal((3, 17, 8)) for _ in range(2))
    student, hidden = (pyops.Tensor(a, requires_grad=True) for a in (s, hs))
    loss = models.distillation_loss(student, t, WORDS, hidden, ht, 3.0, (5.0, 2.0, 0.5))
    a, b = (torch.tensor(x, requires_grad=True) for x in (s, hs))
    at = torch.tensor(WORDS) != -100
    wanted = 5 * 9 * torch.nn.KLDivLoss(reduction="batchmean")(
        T.log_softmax(a[at] / 3, -1), T.softmax(torch.tensor(t)[at] / 3, -1))
    wanted = wanted + 2 * T.cross_entropy(a.flatten(0, 1), torch.tensor(WORDS).flatten())
    wanted = wanted + 0.5 * torch.nn.CosineEmbeddingLoss()(b.flatten(0, 1), torch.tensor(ht).flatten(0, 1),
                                                            torch.ones(51, dtype=torch.float64))
    peers.close(loss.data, wanted, 1e-10)
    loss.backward()
    wanted.backward()
    peers.close(student.grad, a.grad, 1e-10)
    peers.close(hidden.grad, b.grad, 1e-8)


def test_a_student_learns_from_its_teacher():
    """A pair small enough for a test: the student's answers come nearer to the teacher's."""
    from pyops import functional as F, optim
    pyops.manual_seed(0)
    sizes = dict(vocab_size=20, dim=16, n_heads=2, hidden_dim=32, max_position_embeddings=8, dropout=0.0,
                 attention_dropout=0.0)
    teacher, student = (models.distilbert(n_layers=n, **sizes).eval() for n in (2, 1))
    teacher.vocab_projector.bias.data[:] = RNG.standard_normal(20) * 2
    ids = RNG.integers(1, 20, (16, 8))
    words = np.where(RNG.random(ids.shape) < 0.5, ids, -100)
    rule = optim.Adam(student.parameters(), 1e-2)

    def apart():
        return float(F.kl_div(F.log_softmax(student(ids), -1), F.softmax(teacher(ids), -1), reduction="sum").data)
    before = apart()
    with pyops.no_grad():
        answers = teacher(ids)
    for _ in range(25):
        rule.zero_grad()
        models.distillation_loss(student(ids), answers, words, weights=(1.0, 0.0, 0.0)).backward()
        rule.step()
    assert apart() < 0.2 * before


def test_what_does_not_fit_is_named(tmp_path):
    model = models.distilbert(**DISTIL).eval()
    with pytest.raises(ValueError, match=r"mask must have the shape of ids, \(3, 17\), got \(3, 16\)"):
        model(IDS, MASK[:, 1:])
    with pytest.raises(ValueError, match="25 tokens are more than the model's 24 positions"):
        model(np.ones((1, 25), np.int64))
    with pytest.raises(ValueError, match="ids must be from 0 to 96, got 97 to 97"):
        model(np.full((1, 3), 97))


@pytest.mark.parametrize("name, config, sizes", [
    ("BertModel", "BertConfig", dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=50)),
    ("DistilBertModel", "DistilBertConfig", dict(dim=32, n_layers=2, n_heads=4, hidden_dim=50))])
def test_a_folder_of_the_trunk_alone_gives_vectors(name, config, sizes, tmp_path):
    """As sentence encoders are published: arrays have no prefix."""
    theirs = peers.peer(name, config, vocab_size=97, max_position_embeddings=64, **sizes)
    model = peers.ours(theirs, tmp_path / "theirs")
    ids = np.random.default_rng(0).integers(0, 97, (2, 17))
    found, wanted = model(ids), theirs(torch.tensor(ids))
    if name == "BertModel":
        peers.close(found[1], wanted.pooler_output, 1e-5)
        (vectors, _), pooled = model.ragged(list(ids[:, :9]))
        assert np.abs(vectors - np.asarray(model(ids[:1, :9])[0].data)[0]).max() <= 1e-5 and pooled.shape == (2, 32)
        found = found[0]
    peers.close(found, wanted.last_hidden_state, 1e-5)
    models.save_transformer(model, tmp_path / "ours")
    again = getattr(peers.transformers, name).from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(again(torch.tensor(ids)).last_hidden_state, wanted.last_hidden_state)
