"""The lattice beside the same algorithm with a dictionary, in float64, and beside the Gaussian that
it stands for; mean field beside sums over all pairs."""
import itertools

import numpy as np
import pytest

import pyops
from pyops import functional as F
from pyops.core.backends import BACKENDS
from pyops.segmentation import Lattice, dense_crf, lattice as module


def vertices_of(f):
    """The simplex of A*_d around each point, by brute force: of the nearest points of remainder 0 the
    one whose canonical simplex has only weights that are not negative."""
    d = len(f)
    scale = (d + 1) * np.sqrt(2 / 3) / np.sqrt([(i + 1) * (i + 2) for i in range(d)])
    x = np.zeros(d + 1)
    for i in range(d, 0, -1):
        x[i] = (f * scale)[i:].sum() - i * (f * scale)[i - 1]
    x[0] = (f * scale).sum()
    low = np.floor(x / (d + 1)).astype(int)
    for choice in itertools.product((0, 1), repeat=d + 1):
        base = (low + choice) * (d + 1)
        if base.sum():
            continue
        order = np.argsort(-(x - base), kind="stable")
        difference = (x - base)[order] / (d + 1)
        weights = np.append(1 - difference[0] + difference[-1], -np.diff(difference))
        if (weights >= -1e-12).all():
            corners = []
            for r in range(d + 1):
                corner = base + r
                corner[order[d + 1 - r:]] -= d + 1
                corners.append(tuple(corner[:d]))
            # weight r belongs to the vertex of remainder d + 1 - r, the first to that of remainder 0
            return corners, [weights[0], *weights[1:][::-1]]
    raise AssertionError("no simplex")


def by_dictionary(features, values):
    n, d = features.shape
    simplices = [vertices_of(f) for f in features]
    held = {}
    for (corners, weights), value in zip(simplices, values):
        for corner, weight in zip(corners, weights):
            held[corner] = held.get(corner, 0) + weight * value
    for axis in range(d + 1):
        blurred = {}
        for corner, value in held.items():
            step = np.ones(d, int)
            if axis < d:
                step[axis] -= d + 1
            sides = [held.get(tuple(np.add(corner, sign * step)), 0) for sign in (1, -1)]
            blurred[corner] = value / 2 + sum(sides) / 4
        held = blurred
    return np.array([sum(w * held[c] for c, w in zip(*simplex)) for simplex in simplices]), len(held)


@pytest.fixture(params=[b for b in ("avx512", "avx2", "scalar") if b in BACKENDS])
def native(request, monkeypatch):
    sets = BACKENDS[request.param].sets
    monkeypatch.setattr(module, "native", lambda dtype: sets["f32" if dtype == np.float32 else "f64"])


@pytest.mark.parametrize("d, c", [(1, 1), (2, 3), (5, 21), (3, 17)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_lattice_is_the_algorithm(native, d, c, dtype):
    rng = np.random.default_rng(d)
    features, values = rng.normal(0, 2, (60, d)).astype(dtype), rng.standard_normal((60, c)).astype(dtype)
    lattice = Lattice(features)
    want, vertices = by_dictionary(features.astype(float), values.astype(float))
    assert lattice.vertices == vertices
    assert np.abs(lattice.weights.sum(1) - 1).max() <= 1e-5 and lattice.weights.min() >= -1e-5
    assert np.abs(lattice.filter(values) - want).max() <= (1e-12 if dtype == np.float64 else 2e-5) * np.abs(want).max()


@pytest.mark.parametrize("d, c", [(1, 1), (2, 3), (5, 21)])
def test_the_rows_definition_is_the_algorithm(d, c):
    rng = np.random.default_rng(d)
    features, values = rng.normal(0, 2, (60, d)), rng.standard_normal((60, c))
    want, _ = by_dictionary(features, values)
    with pyops.use_backend("reference"):
        assert np.abs(F.permutohedral_filter(features, values) - want).max() <= 1e-12 * np.abs(want).max()


def test_the_transposed_filter_is_the_adjoint_and_the_gradient():
    rng = np.random.default_rng(0)
    features, values, other = rng.normal(0, 2, (80, 5)), rng.standard_normal((80, 3)), rng.standard_normal((80, 3))
    forth, back = (F.permutohedral_filter(features, values), F.permutohedral_filter(features, other, transpose=True))
    assert np.isclose((forth * other).sum(), (values * back).sum(), rtol=1e-12)
    assert np.abs(F.permutohedral_filter(features, other) - back).max() > 1e-6   # blurs do not commute
    x = pyops.Tensor(values, requires_grad=True)
    (F.permutohedral_filter(features, x) * other).sum().backward()
    assert np.allclose(x.grad, back, rtol=1e-12)
    with pytest.raises(ValueError, match="features have no gradient"):
        F.permutohedral_filter(pyops.Tensor(features, requires_grad=True), values).sum().backward()


def test_a_lattice_is_the_row():
    rng = np.random.default_rng(0)
    features, values = rng.normal(0, 2, (80, 5)).astype(np.float32), rng.standard_normal((80, 3)).astype(np.float32)
    assert (F.permutohedral_filter(features, values) == Lattice(features).filter(values)).all()


@pytest.mark.parametrize("worst", [np.nan, np.inf, -3e38, 2.0 ** 21])
def test_points_that_are_nowhere_are_nan_in_a_program(worst):
    """And nobody's neighbours; in a call they are refused."""
    rng = np.random.default_rng(0)
    features, values = rng.normal(0, 1, (40, 3)).astype(np.float32), rng.standard_normal((40, 2)).astype(np.float32)
    program = pyops.compile(F.permutohedral_filter, (features, values))
    assert np.allclose(program(features, values), F.permutohedral_filter(features, values), atol=1e-6)
    lost = features.copy()
    lost[7, 1] = worst
    got = program(lost, values)
    assert np.isnan(got[7]).all() and np.isfinite(np.delete(got, 7, 0)).all()
    beside = program(lost, np.where(np.arange(len(values))[:, None] == 7, np.float32(np.nan), values))
    assert np.array_equal(beside, got, equal_nan=True)   # nor do their values go anywhere
    without = F.permutohedral_filter(np.delete(features, 7, 0), np.delete(values, 7, 0))
    assert np.allclose(np.delete(got, 7, 0), without, atol=1e-5)
    with pytest.raises(ValueError, match="features must be finite"):
        F.permutohedral_filter(lost, values)


def gaussian(features):
    return np.exp(-((features[:, None] - features[None]) ** 2).sum(-1) / 2)


@pytest.mark.parametrize("d", [2, 5])
def test_means_are_nearly_those_of_the_gaussian(d):
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 4, (1500, d))
    values = np.sin(features.sum(1, keepdims=True)) + rng.standard_normal((1500, 1)) / 10
    lattice = Lattice(features)
    got = lattice.filter(values) / lattice.filter(np.ones((1500, 1)))
    k = gaussian(features)
    want = k @ values / k.sum(1, keepdims=True)
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.98 and np.abs(got - want).mean() < 0.1 * want.std() + 0.02


def scene():
    rng = np.random.default_rng(0)
    image = np.zeros((12, 16, 3), np.uint8)
    image[:] = (30, 40, 50)
    image[3:9, 4:12] = (200, 180, 160)
    truth = np.zeros((12, 16), int)
    truth[3:9, 4:12] = 1
    p = np.stack([np.where(truth == c, 0.6, 0.2) for c in range(3)])
    p *= rng.uniform(0.1, 2.5, p.shape)
    return np.clip(image + rng.integers(-8, 9, image.shape), 0, 255).astype(np.uint8), truth, p / p.sum(0)


def exact(p, image, steps, kernels, cost):
    """Every pair, in float64."""
    classes, h, w = p.shape
    rows, columns = np.mgrid[:h, :w]
    place = np.stack([columns.ravel(), rows.ravel()], 1)
    unary = np.log(p.reshape(classes, -1).T)
    matrices = []
    for weight, place_sigma, colour_sigma in kernels:
        features = place / place_sigma
        if colour_sigma:
            features = np.concatenate([features, image.reshape(-1, 3) / colour_sigma], 1)
        k = gaussian(features)
        root = 1 / np.sqrt(k.sum(1))
        matrices.append(weight * root[:, None] * k * root)
    q = np.exp(unary)
    for _ in range(steps):
        q = np.exp(unary - sum(m @ q @ cost.T for m in matrices))
        q /= q.sum(1, keepdims=True)
    return q.T.reshape(p.shape)


@pytest.mark.parametrize("potts", [True, False])
def test_mean_field_is_nearly_the_exact_one(potts):
    image, truth, p = scene()
    cost = 1 - np.eye(3) if potts else np.array([[0, 1, 3], [2, 0, 1], [1, 1, 0.0]])
    want = exact(p, image, 5, [(2.0, 2.0, None), (4.0, 20.0, 25.0)], cost)
    got = dense_crf(p, image, 5, smooth=2.0, smooth_sigma=2.0, bilateral=4.0, place_sigma=20.0, colour_sigma=25.0,
                    compatibility=None if potts else cost)
    assert got.dtype == np.float32 and np.abs(got.sum(0) - 1).max() <= 1e-5
    assert np.abs(got - want).max() < 0.08 and np.abs(got - want).mean() < 0.01
    assert (got.argmax(0) == want.argmax(0)).mean() > 0.98
    if potts:
        assert (got.argmax(0) == truth).mean() > 0.95 > (p.argmax(0) == truth).mean()


def test_without_rounds_or_kernels_nothing_changes():
    image, _, p = scene()
    assert np.abs(dense_crf(p, image, 0) - p).max() <= 1e-6
    assert np.abs(dense_crf(p, image, 3, smooth=0, bilateral=0) - p).max() <= 1e-6


@pytest.mark.parametrize("change, match", [
    ({"image": np.zeros((12, 16), np.uint8)}, r"uint8 \(12, 16, 3\)"), ({"image": np.zeros((12, 16, 3))}, "float64"),
    ({"probabilities": np.full((3, 12, 16), np.nan)}, "finite"), ({"probabilities": np.ones((3, 12))}, "classes"),
    ({"steps": -1}, "steps must be"), ({"steps": True}, "steps must be"),
    ({"bilateral": float("nan")}, "bilateral must be a finite number, got nan"),
    ({"colour_sigma": "x"}, "colour_sigma must be a finite number, got 'x'"),
    ({"place_sigma": 0}, "deviations must be positive"),
    ({"compatibility": np.eye(2)}, r"compatibility must be finite numbers \(3, 3\)")])
def test_wrong_arguments_are_refused(change, match):
    image, _, p = scene()
    with pytest.raises(ValueError, match=match):
        dense_crf(**{"probabilities": p, "image": image, **change})


def test_wrong_features_are_refused():
    for features, match in ((np.zeros((3, 17)), "1 to 16"), (np.zeros(3), "points"),
                            (np.full((2, 2), np.inf), "finite"), (np.zeros((2, 2), int), "float32 or float64")):
        with pytest.raises(ValueError, match=match):
            Lattice(features)
    with pytest.raises(ValueError, match=r"values must be \(2, channels\)"):
        Lattice(np.zeros((2, 2))).filter(np.zeros((3, 1)))


def test_scaled_filters_add_what_filters_give():
    rng = np.random.default_rng(0)
    lattice = Lattice(rng.random((50, 3)))
    before, behind = rng.random((2, 50))
    values, start = rng.random((2, 50, 4))
    result = start.copy()
    lattice.scaled(before, behind)(result, values, result)
    other = np.empty_like(start)
    lattice.scaled(before, behind)(other, values, start)
    assert (result == other).all()
    wanted = start + behind[:, None] * lattice.filter(before[:, None] * values)
    np.testing.assert_allclose(result, wanted, rtol=1e-12)


def test_sizes_that_do_not_fit_a_scaled_filter_are_refused():
    lattice, one = Lattice(np.zeros((5, 2))), np.ones(5)
    for before, behind in ((one[:3], one), (one, one[:3]), (one.astype(np.float32), one)):
        with pytest.raises(ValueError, match=r"Lattice.scaled: (before|behind) must be \(5,\) float64"):
            lattice.scaled(before, behind)
    add_to = lattice.scaled(one, one)
    for result, values, base in (((5, 1), (5, 2), (5, 1)), ((4, 1), (4, 1), (4, 1)), (5, 5, 5), ((5, 1), (5, 1), 5)):
        with pytest.raises(ValueError, match=r"must be \(5, channels\) all"):
            add_to(np.zeros(result), np.zeros(values), np.zeros(base))


def test_a_lattice_is_the_same_on_any_number_of_threads():
    # enough points that threads number vertices apart and put them together
    rng = np.random.default_rng(1)
    features = np.cumsum(rng.normal(0, 0.05, (20000, 3)), 0)
    made = []
    for threads in (1, 2, 3, 8):
        with pyops.num_threads(threads):
            made.append(Lattice(features))
    for other in made[1:]:
        for name in ("vertices", "places", "weights", "neighbours", "starts", "points", "splat"):
            assert np.array_equal(getattr(other, name), getattr(made[0], name)), name
