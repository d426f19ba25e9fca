"""Building blocks, activation atlas and projector: numbers against brute force, and the pictures and
pages that show them."""
import base64
import io
import json
import re

import numpy as np
import pytest

import pyops
from pyops import inspect, nn
from pyops.inspect import objective as o
from pyops.inspect.atlas import collect, inner_positions
from pyops.inspect.page import Item, page
from pyops.inspect.projector import embed, features, nearest, purity, worst

RNG = np.random.default_rng(2)
IMAGES = RNG.normal(size=(9, 3, 12, 12)).astype(np.float32)


def network():
    pyops.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 2), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))


def test_attribution_is_how_much_each_position_adds():
    """By finite differences: a position's answer, scaled by 1 + step."""
    model, step = network().double(), 1e-6
    maps = inspect.feature_maps(model, IMAGES[:1].astype(np.float64), ["1"])["1"]
    rest = nn.Sequential(*list(model.children())[2:]).eval()
    found = inspect.attribution_grid(model, IMAGES[0].astype(np.float64), 2, "1")

    def score(changed):
        with pyops.no_grad():
            return rest(pyops.Tensor(changed)).data[0, 2]
    for y, x in ((0, 0), (3, 7), (9, 9)):
        more, less = maps.copy(), maps.copy()
        more[0, :, y, x] *= 1 + step
        less[0, :, y, x] *= 1 - step
        assert np.isclose(found[y, x], (score(more) - score(less)) / (2 * step), atol=1e-8)
    assert found.shape == (10, 10)
    both = inspect.attribution_grid(model, IMAGES[0].astype(np.float64), o.score(2) - o.score(0), "1")
    assert np.allclose(both, found - inspect.attribution_grid(model, IMAGES[0].astype(np.float64), 0, "1"))


def test_each_position_is_seen():
    model = network()
    seen = inspect.activation_grid(model, IMAGES[0], "1", cells=2, size=14, steps=25)
    maps = inspect.feature_maps(model, IMAGES[:1], ["1"])["1"][0]
    mean = maps.reshape(6, 2, 5, 2, 5).mean((2, 4))
    assert seen.images.shape == (2, 2, 3, 14, 14) and np.allclose(seen.lengths, np.linalg.norm(mean, axis=0), atol=1e-5)
    answer = inspect.feature_maps(model, seen.images.reshape(4, 3, 14, 14), ["1"])["1"].mean((2, 3))
    vectors = mean.reshape(6, 4).T
    cosine = (answer * vectors).sum(1) / np.linalg.norm(answer, axis=1) / np.linalg.norm(vectors, axis=1)
    grey = inspect.feature_maps(model, np.full((1, 3, 14, 14), 0.5, np.float32), ["1"])["1"].mean((2, 3))
    assert (cosine > (grey * vectors).sum(1) / np.linalg.norm(grey) / np.linalg.norm(vectors, axis=1)).all()
    page = inspect.mosaic(seen.images, gap=2)
    assert page.shape == (3, 30, 30)
    assert np.array_equal(page[:, 16:, 16:], seen.images[1, 1]) and (page[:, 14:16] == 1).all()
    assert np.allclose(inspect.mosaic(seen.images, 0, np.zeros((2, 2))), 0.5)


def test_what_is_collected_is_answers_and_their_weight():
    model = network()
    found = collect(model, IMAGES, "1", per_image=3, seed=4)
    maps = inspect.feature_maps(model, IMAGES, ["1"])["1"]
    assert found.vectors.shape == (27, 6) and np.array_equal(found.image, np.arange(9).repeat(3))
    assert sorted(found.classes) == list(range(4))
    grids = [[inspect.attribution_grid(model, image, c, "1") for c in range(4)] for image in IMAGES]
    for vector, evidence, i in zip(found.vectors, found.evidence, found.image):
        places = np.argwhere((maps[i] == vector[:, None, None]).all(0))
        assert any((0 < place).all() and (place < 9).all() for place in places)
        assert any(np.allclose(evidence, [grids[i][c][tuple(place)] for c in range(4)], atol=1e-6) for place in places)
    few = collect(model, IMAGES, "1", most_classes=2)
    assert len(few.classes) == 2 == few.evidence.shape[1]


@pytest.mark.parametrize("sides, count", [((5, 4), 6), ((2, 2), 4), ((1, 3), 1), ((), 1)])
def test_borders_are_left_out_where_there_is_an_inside(sides, count):
    assert len(inner_positions(sides)) == count


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_layouts_keep_what_is_near_together(method):
    pytest.importorskip("sklearn")
    vectors = np.concatenate([RNG.normal(size=(20, 8)) + 20 * np.eye(8)[k] for k in range(3)])
    places = inspect.layout(vectors, method)
    assert places.shape == (60, 2) and places.min() == 0 and places.max() == 1
    kinds = np.arange(3).repeat(20)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(60)
    assert (kinds[distances.argmin(1)] == kinds).all()
    assert np.array_equal(places, inspect.layout(vectors, method))


def test_an_atlas_averages_what_falls_into_its_cells():
    pytest.importorskip("sklearn")
    model = network()
    made = inspect.atlas(model, IMAGES, "1", sides=(1, 3), size=10, steps=3, per_image=2, method="pca", names="abcd")
    found = collect(model, IMAGES, "1", per_image=2)
    whole, *cells = made.cells
    assert whole.count == 18 and np.allclose(whole.evidence, found.evidence.mean(0))
    assert sum(cell.count for cell in cells) == 18 and made.names == tuple("abcd")
    for cell in cells:
        inside = (np.minimum((made.places * 3).astype(int), 2) == (cell.column, cell.row)).all(1)
        assert inside.sum() == cell.count and np.allclose(cell.evidence, found.evidence[inside].mean(0))
        assert cell.image.shape == (3, 10, 10)


def test_an_atlas_is_drawn_and_zooms(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    names = ["a", "</script>", "c", "d"]
    made = inspect.atlas(network(), IMAGES, "1", sides=(1, 2), size=8, steps=1, method="pca", names=names)
    assert image.open(inspect.pictures.draw_atlas(tmp_path / "a.png", made, "title")).width >= 1200
    text = inspect.pictures.atlas_page(tmp_path / "a.html", made, "<i>title").read_text()
    assert "&lt;i&gt;title" in text and text.count("</script>") == 1 and "http" not in text.replace("http-", "")
    data = json.loads(re.search(r"const data = (.*);\n", text)[1])
    assert [len(level) for level in data["levels"]] == [1, len(made.cells) - 1]
    sheet = np.asarray(image.open(io.BytesIO(base64.b64decode(data["sprites"].partition(",")[2]))))
    for cell, item in zip(made.cells, [i for level in data["levels"] for i in level]):
        top, left = (8 * n for n in divmod(item["sprite"], data["columns"]))
        want = np.rint(255 * cell.image).transpose(1, 2, 0)
        assert np.array_equal(sheet[top:top + 8, left:left + 8], want)
        assert data["legend"][item["kind"]]["name"] == made.names[int(cell.evidence.argmax())]
        assert np.isclose((item["x"] + item["w"] / 2) * cell.side, cell.column + 0.5, atol=1e-3)
    with pytest.raises(ValueError, match="nothing to show"):
        page(tmp_path / "b.html", [[]], [], "title")
    assert page(tmp_path / "b.html", [[Item(0, 0, 1, np.zeros((1, 2, 2)), 0, "x")]], [("a", "#000000")], "t").is_file()


# ---- the projector

def test_features_are_what_the_last_layer_is_given():
    model = network()
    vectors, scores = features(model, IMAGES)
    with pyops.no_grad():
        want = model(pyops.Tensor(IMAGES)).data
    assert vectors.shape == (9, 5) and np.allclose(scores, want)
    assert np.allclose(vectors @ model[7].weight.data.T + model[7].bias.data, want, atol=1e-6)
    maps = inspect.feature_maps(model, IMAGES, ["3"])["3"]
    assert np.allclose(features(model, IMAGES, "3")[0], maps.mean((2, 3)), atol=1e-6)


def test_features_of_a_torch_module():
    torch = pytest.importorskip("torch")
    t, model = torch.nn, network()
    twin = t.Sequential(t.Conv2d(3, 6, 3), t.ReLU(), t.MaxPool2d(2), t.Conv2d(6, 5, 2), t.ReLU(inplace=True),
                        t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(5, 4))
    twin.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(features(twin, IMAGES), features(model, IMAGES)))
    a, b = (collect(m, IMAGES, "1", per_image=2) for m in (model, twin))
    assert np.allclose(a.vectors, b.vectors, atol=1e-6) and np.allclose(a.evidence, b.evidence, atol=1e-6)


def test_neighbours_are_the_nearest_by_angle():
    vectors = RNG.normal(size=(30, 4))
    found = nearest(vectors, 5)
    for i in range(30):
        cosine = vectors @ vectors[i] / np.linalg.norm(vectors, axis=1)
        cosine[i] = -np.inf
        assert list(found[i]) == list(np.argsort(-cosine)[:5])


def test_wrong_predictions_among_their_neighbours(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    model = network()
    chosen = features(model, IMAGES)[1].argmax(1)
    labels = chosen.copy()
    labels[[2, 5]] = (labels[[2, 5]] + 1) % 4
    found = embed(model, IMAGES, labels, method="pca", neighbours=3)
    assert list(found.wrong) == [2, 5] and set(worst(found, 9)) == {2, 5} and len(worst(found, 1)) == 1
    assert np.isclose(purity(found), np.mean([labels[j] == labels[i] for i in range(9) for j in found.neighbours[i]]))
    pixels, names = (IMAGES - IMAGES.min()) / np.ptp(IMAGES), list("abcd")
    for path in (inspect.pictures.draw_projection(tmp_path / "a.png", found, names, "title"),
                 inspect.pictures.draw_neighbours(tmp_path / "b.png", found, pixels, names, "title")):
        assert image.open(path).width >= 1200
    text = inspect.pictures.projection_page(tmp_path / "a.html", found, pixels, names, "title").read_text()
    items = json.loads(re.search(r"const data = (.*);\n", text)[1])["levels"][0]
    assert [i for i, item in enumerate(items) if item.get("mark")] == [2, 5]
    assert f"{names[labels[2]]}, taken for {names[chosen[2]]}" in items[2]["text"]
    right = embed(model, IMAGES, chosen, method="pca")
    assert inspect.pictures.draw_neighbours(tmp_path / "c.png", right, pixels, names, "title") is None


@pytest.mark.parametrize("ask, said", [
    (lambda m: inspect.activation_grid(m, IMAGES[0], "7"), "which are no maps"),
    (lambda m: inspect.activation_grid(m, IMAGES[0], "1", cells=0), "cells must be a positive int"),
    (lambda m: inspect.atlas(m, IMAGES, "9"), "no layer '9'"),
    (lambda m: inspect.atlas(m, IMAGES[0], "1"), r"must be \(N, C, H, W\)"),
    (lambda m: inspect.atlas(m, IMAGES * np.inf, "1"), "NaN or infinity"),
    (lambda m: inspect.atlas(m, IMAGES, "1", sides=()), "sides must be positive ints"),
    (lambda m: inspect.atlas(m, IMAGES, "1", method="pca", least=100), "no cell holds 100 of 18 positions"),
    (lambda m: inspect.atlas(m, IMAGES, "1", names=["a"]), "1 names for classes up to 3"),
    (lambda m: inspect.layout(np.zeros((2, 5))), "at least three vectors"),
    (lambda m: inspect.layout(np.zeros((5, 5)), "isomap"), "must be umap, tsne, pca, got 'isomap'"),
    (lambda m: embed(m, IMAGES, np.zeros(3, int)), "9 images need as many integer labels"),
    (lambda m: features(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), IMAGES), "has no linear layer")])
def test_what_cannot_be_laid_out_is_said(ask, said):
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match=said):
        ask(network())


def test_the_commands_look_at_folders(tmp_path, capsys):
    for needed in ("safetensors", "matplotlib", "sklearn"):
        pytest.importorskip(needed)
    image = pytest.importorskip("PIL.Image")
    from pyops.cli import main
    from pyops.models import weights
    pyops.manual_seed(0)
    weights.save(pyops.create_model("lenet5_modern"), tmp_path / "a.safetensors")
    for i in range(6):
        folder = tmp_path / "data" / str(i % 3)
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(RNG.integers(0, 256, (32, 32), np.uint8)).save(folder / f"{i}.png")
    asked = ["inspect", str(tmp_path / "a.safetensors"), str(tmp_path / "data"), "-o", str(tmp_path), "--steps", "1",
             "--cells", "2", "--layout", "pca"]
    assert main([*asked, "--show", "atlas", "--layer", "conv2"]) == 0
    assert main([*asked, "--show", "projector"]) == 0
    assert main([*asked[:2], str(tmp_path / "data/0/0.png"), *asked[3:], "--show", "blocks", "--against", "7"]) == 0
    assert {"atlas-conv2.png", "atlas-conv2.html", "projector.png", "projector.html", "blocks-conv2.png"} <= {
        p.name for p in tmp_path.iterdir()}
    capsys.readouterr()
    for seen, more, said in (("data", ["atlas"], "needs --layer"), ("a.safetensors", ["projector"], "is no folder"),
                             ("data/0", ["projector"], "three are the least"),
                             ("data/0/0.png", ["blocks", "--against", "10"], "--against must be a class 0 .. 9")):
        assert main([*asked[:2], str(tmp_path / seen), *asked[3:], "--show", *more]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "data" / "2").rename(tmp_path / "data" / "two")
    assert main([*asked, "--show", "projector"]) == 2 and "two are none of the classes 0" in capsys.readouterr().err
