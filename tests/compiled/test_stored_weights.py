"""Linear layers of programs whose weights are stored as int8 or bfloat16: kernels, the option of compile,
and generation, against float64 products with the weights that the stored ones stand for."""
import numpy as np
import pytest
from maps import NONE, PlanarOut, Rows, check, per_channel, run
from test_blocked_linear import CASES, REFERENCE, arguments

import pyops
import pyops.functional as F
from pyops import models
from pyops.graph import packing
from pyops.models.sequence.causal import Reading

FORMS = ("int8", "bf16")


def stored(form, weight):
    """As kernels take it, its scale, and the float64 weights that it stands for."""
    if form == "bf16":
        bits = packing.bfloat16(weight).astype(np.uint32) << 16
        return packing.bf16_linear(weight), None, bits.view(np.float32).astype(np.float64)
    packed, scale = packing.int8_linear(weight), packing.int8_scale(weight)
    whole = packed.transpose(0, 2, 1).reshape(-1, weight.shape[1])[:len(weight)]
    return packed, scale, whole * scale[:len(weight), None].astype(np.float64)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_linear_stored(backend, case, form):
    x, weight, b, activation, _ = arguments(case)
    packed, scale, meant = stored(form, weight)
    want = REFERENCE[activation](x.astype(np.float64) @ meant.T + (0 if b is None else b))
    check(backend, "linear_stored", Rows(x), packed, scale, per_channel(b), activation, PlanarOut(want.shape),
          want=want, tolerance=32)
    wide, = run(backend, "widen_packed", packed, scale, PlanarOut(packed.shape))
    found = wide.transpose(0, 2, 1).reshape(-1, weight.shape[1])[:len(weight)]
    assert np.array_equal(found, meant.astype(np.float32))


@pytest.mark.parametrize("form", FORMS)
def test_a_row_is_the_same_in_any_company(backend, form):
    rng = np.random.default_rng(1)
    x, weight = rng.standard_normal((7, 300), np.float32), rng.standard_normal((210, 300), np.float32)
    packed, scale, _ = stored(form, weight)
    together, = run(backend, "linear_stored", Rows(x), packed, scale, None, NONE, PlanarOut((7, 210)))
    for i in range(7):
        alone, = run(backend, "linear_stored", Rows(x[i:i + 1].copy()), packed, scale, None, NONE, PlanarOut((1, 210)))
        assert np.array_equal(together[i], alone[0])


def test_rows_of_every_size_beside_each_other(backend):
    """int8 weights meet rows in fixed point where the CPU has instructions for it: a row with one value
    far above the others, rows of zeros, of tiny values, and rows that are not finite, whose neighbours
    stay as they are."""
    rng = np.random.default_rng(2)
    for features in (1, 3, 64, 127, 130):
        x, weight = rng.standard_normal((9, features), np.float32), rng.standard_normal((50, features), np.float32)
        x[1] = 0
        x[2] *= 1e-38
        x[3, 0] = 1e6
        x[4, -1], x[6, 0], x[7] = np.inf, np.nan, x[7] * 1e30
        packed, scale, meant = stored("int8", weight)
        found, = run(backend, "linear_stored", Rows(x), packed, scale, None, NONE, PlanarOut((9, 50)))
        with np.errstate(invalid="ignore"):
            want = x.astype(np.float64) @ meant.T
        for row in (0, 1, 2, 3, 5, 7, 8):
            size = np.abs(x[row]).max() * np.abs(meant).sum(1).max() * np.finfo(np.float32).eps
            assert np.abs(found[row] - want[row]).max() <= 4 * size + 1e-44
        assert not np.isfinite(found[4]).any() and np.isnan(found[6]).all()


def layer_of_stored(name, weight, form):
    """An array of GPT-2 as the program has it: its Conv1D are (in, out), tables of embeddings no layer."""
    if weight.ndim != 2 or name.startswith(("transformer.wte", "transformer.wpe")):
        return weight
    turned = weight if name == "lm_head.weight" else weight.T
    meant = stored(form, turned)[2].astype(np.float32)
    return meant if turned is weight else np.ascontiguousarray(meant.T)


def test_weights_are_off_by_no_more_than_is_said():
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((33, 70)).astype(np.float32) * rng.lognormal(size=(33, 1)).astype(np.float32)
    weight[4] = 0
    _, _, meant = stored("int8", weight)
    assert (np.abs(meant - weight) <= np.abs(weight).max(1, keepdims=True) * (1 / 254 + 1e-6)).all()
    _, _, meant = stored("bf16", weight)
    assert (np.abs(meant - weight) <= np.abs(weight) / 256).all()


def test_bfloat16_is_rounded_as_torch_rounds():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).integers(0, 2**32, 10000, np.uint32).view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], np.float32([0, -0.0, np.inf, -np.inf, 1.00390625, 1.01171875, 3.4e38])])
    wanted = torch.from_numpy(x).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(packing.bfloat16(x), wanted)
    assert np.isnan((packing.bfloat16(np.float32([np.nan])).astype(np.uint32) << 16).view(np.float32))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_compiled_layers_compute_with_the_weights_that_are_stored(form, rows, tmp_path):
    rng = np.random.default_rng(rows)
    w1, w2 = (rng.standard_normal(s).astype(np.float32) for s in ((50, 30), (21, 50)))
    b, x = rng.standard_normal(50).astype(np.float32), rng.standard_normal((rows, 30)).astype(np.float32)
    program = pyops.compile(lambda x: F.linear(F.relu(F.linear(x, w1, b)), w2), x, weights=form)
    want = np.maximum(x @ stored(form, w1)[2].T + b, 0) @ stored(form, w2)[2].T
    assert np.abs(program(x) - want).max() <= 1e-6 * np.abs(want).max()
    program.save(tmp_path / "p.npz")
    assert np.array_equal(pyops.Program.load(tmp_path / "p.npz")(x), program(x))


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_row_of_int8_is_what_linear_layers_become(rows):
    rng = np.random.default_rng(rows)
    w, b = rng.standard_normal((50, 30)).astype(np.float32), rng.standard_normal(50).astype(np.float32)
    x = rng.standard_normal((rows, 30)).astype(np.float32)
    scale = packing.int8_scale(w)[:50]
    whole = np.rint(w / scale[:, None]).astype(np.int8)
    ours = pyops.compile(lambda x: F.gelu(F.linear_int8(x, whole, scale, b)), x)
    theirs = pyops.compile(lambda x: F.gelu(F.linear(x, w, b)), x, weights="int8")
    assert np.array_equal(ours(x), theirs(x))
    assert [step.kernel for step in ours.steps] == [step.kernel for step in theirs.steps]
    assert np.allclose(F.linear_int8(x, whole, scale, b), F.linear(x, whole * scale[:, None], b), atol=1e-4)


def test_weights_that_are_not_finite_stay_as_they_are():
    w, x = np.ones((3, 4), np.float32), np.ones((2, 4), np.float32)
    w[1, 2] = np.inf
    assert np.array_equal(pyops.compile(lambda x: F.linear(x, w), x, weights="int8")(x), x @ w.T)


def test_another_form_is_refused():
    with pytest.raises(ValueError, match="weights must be one of float32, int8, bf16, got 'int4'"):
        pyops.compile(lambda x: F.linear(x, x), np.ones((2, 2), np.float32), weights="int4")


@pytest.mark.parametrize("form", FORMS)
def test_generation_is_that_of_a_model_with_the_stored_weights(form):
    pyops.manual_seed(0)
    settings = dict(n_embd=32, n_layer=2, n_head=4, vocab_size=97, n_positions=64, tie_word_embeddings=False)
    model = models.gpt2(**settings).eval()
    for p in model.parameters():
        p.data *= 4   # scores that are apart
    rounded = models.gpt2(**settings).eval()
    rounded.load_state_dict({name: layer_of_stored(name, np.asarray(a), form)
                             for name, a in model.state_dict().items()})
    prompt = np.array([5, 17, 3, 80])
    ours, theirs = Reading(model, [prompt], 2, True, form), Reading(rounded, [prompt], 2, True)
    for token in (4, 90, 11):
        assert np.abs(ours.scores - theirs.scores).max() <= 2e-6 * np.abs(theirs.scores).max()
        for reading in (ours, theirs):
            reading.read(np.array([token, token + 1]))
    assert model.generate([prompt], 8, weights=form) == rounded.generate([prompt], 8)
    with pytest.raises(ValueError, match="leave out compiled=False"):
        model.generate([prompt], 8, weights=form, compiled=False)
