"""The lecture's experiments: each in its quick form, what it trains on, and what the
docs quote of them."""
import re
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import pyops
from pyops import nn

pytest.importorskip("sklearn")
from pyops.bench import experiments
from pyops.bench.experiments import auxiliary, digits as data, head, lrn, outcome, pooling, transfer
from pyops.bench.experiments.residual import Deep

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "experiments.md"
ROWS = {"degradation": 4, "pooling": 4, "head": 2, "lrn": 3, "auxiliary": 4, "transfer": 2, "detection": 11,
        "segmentation": 7}


@cache
def quick(name):
    return experiments.run(name, seeds=1, quick=True)


@pytest.mark.parametrize("name", experiments.NAMES)
def test_an_experiment_gives_a_table_and_curves(name, tmp_path):
    got = quick(name)
    assert len(got.rows) == ROWS[name]
    for row in got.rows.values():
        assert (set(row) >= set(got.places)
                and all(len(values) == 1 and np.isfinite(values).all() for values in row.values()))
    lines = got.table().splitlines()
    assert len(lines) == 2 + len(got.rows) and {line.count("|") for line in lines} == {len(got.places) + 2}
    assert (got.curves.lines
            and all(np.shape(values) == (1, len(got.curves.x)) for values in got.curves.lines.values()))
    pytest.importorskip("matplotlib")
    got.draw(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


# ---- the lessons that hold in seconds

def test_a_deeper_plain_network_trains_worse_and_a_deeper_residual_one_does_not():
    loss = {name: values["training loss"][0] for name, values in quick("degradation").rows.items()}
    assert (loss["plain, 26 layers"] > 1.3 * loss["plain, 8 layers"]
            and loss["residual, 26 layers"] < loss["residual, 8 layers"])


def test_the_mean_over_maps_needs_a_sixteenth_of_the_linear_layers_weights():
    sizes = {name: values["of the linear layer"][0] for name, values in quick("head").rows.items()}
    assert sizes == {"global average pooling": 64 * 10 + 10, "flatten": 16 * 64 * 10 + 10}


def test_auxiliary_classifiers_bring_gradients_to_the_first_layer_where_there_are_no_norms():
    found = {name: values["gradient at conv1"][0] for name, values in quick("auxiliary").rows.items()}
    assert found["no norms, auxiliary on"] > 1.1 * found["no norms, auxiliary off"]
    assert found["batch norms, auxiliary off"] > 5 * found["no norms, auxiliary off"]


def test_auxiliary_classifiers_change_nothing_else_before_the_first_step():
    for norms in (False, True):
        models = []
        for on in (False, True):
            pyops.manual_seed(3)
            models.append(auxiliary.NarrowGoogLeNet(on, norms).state_dict())
        assert (all(np.array_equal(value, models[1][name]) for name, value in models[0].items())
                and len(models[1]) > len(models[0]))


def test_a_moved_trunk_is_better_than_one_from_scratch_with_ten_images():
    row = quick("transfer").rows["10"]
    assert max(row["new head"][0], row["then the top two layers"][0]) > row["from scratch"][0] + 5


# ---- what they are made of

def test_the_digits_held_back_are_others_for_each_seed_and_never_trained_on():
    def keys(images):
        return {image.tobytes() for image in images}
    tests = []
    for seed in range(data.FOLDS):
        train, test = data.digits(seed, 8)
        assert not keys(train.images) & keys(test.images) and len(train.labels) + len(test.labels) == 1797
        assert set(test.labels) == set(range(10)) and 0 <= train.images.min() < train.images.max() <= 1
        tests.append(keys(test.images))
    assert sum(map(len, tests)) == len(set.union(*tests)), "folds do not overlap"
    train, test = data.digits(0, 16, most=30)
    assert train.images.shape == test.images.shape == (30, 1, 16, 16)
    assert set(train.only(5, 10).labels) <= set(range(5))


def test_placed_digits_keep_their_ink():
    train, _ = data.digits(0, 16, most=200)
    moved = data.MOVE(train.images, np.random.default_rng(0))
    assert not np.array_equal(moved, train.images) and np.allclose(moved.sum((1, 2, 3)),
                                                                   train.images.sum((1, 2, 3)))
    ratio = data.placed(train.images, np.random.default_rng(0)).sum((1, 2, 3)) / train.images.sum((1, 2, 3))
    assert (0.5 < ratio.min() < 0.9
            and 1.1 < ratio.max() < 1.6), "area goes with the square of a scale of 0.8 .. 1.2"


def test_few_samples_are_balanced_and_others_for_each_seed():
    images = data.digits(0, 16)[0].only(5, 10)
    ten, again, other = (transfer.some(images, 10, seed) for seed in (0, 0, 1))
    assert (np.bincount(ten.labels).tolist() == [2] * 5 and np.array_equal(ten.images, again.images)
            and not np.array_equal(ten.images, other.images))
    thousand = transfer.some(images, 1000, 0)
    assert (np.bincount(thousand.labels).tolist() == [200] * 5
            and len({image.tobytes() for image in thousand.images}) == 1000)
    assert len(transfer.repeated(ten, 1000)) == len(transfer.repeated(thousand, 1000)) == 1000


def test_mnists_files_may_stand_in(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 20)):
        images, labels = rng.integers(0, 256, (count, 28, 28),
                                      np.uint8), np.arange(count, dtype=np.uint8) % 10
        for stem, axes, array in (("images", 3, images), ("labels", 1, labels)):
            head_bytes = bytes([0, 0, 8, axes]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (tmp_path / f"{part}-{stem}-idx{axes}-ubyte").write_bytes(head_bytes + array.tobytes())
    for side in (8, 16):
        train, test = data.digits(3, side, str(tmp_path))
        assert (train.images.shape == (40, 1, side, side) and test.images.shape == (20, 1, side, side)
                and train.images.dtype == np.float32)
        assert np.bincount(train.labels).tolist() == [4] * 10 and 0 < train.images.max() <= 1
    assert len(experiments.run("head", 1, True, str(tmp_path)).rows) == 2


def test_networks_are_what_they_are_called():
    def weighted(model):
        return sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules())
    assert [weighted(Deep(n, residual)) for n in (1, 3, 9)
            for residual in (False, True)] == [8, 8, 20, 20, 56, 56]
    narrow = auxiliary.NarrowGoogLeNet(True, True).state_dict()
    full = pyops.create_model("googlenet").state_dict()
    assert list(narrow) == list(full) or set(narrow) == set(full)
    for name in (n for n in full if "inception" in n and full[n].ndim == 4):
        assert (tuple(8 * n for n in narrow[name].shape[:2]) == full[name].shape[:2]
                and narrow[name].shape[2:] == full[name].shape[2:]), name
    sizes = [sum(p.size for p in pooling.network(how).parameters())
             for how in ("pool", "stride", "conv", "conv, pool")]
    assert sizes[0] == sizes[1] < sizes[2] == sizes[3]
    image = pyops.Tensor(np.zeros((2, 1, 16, 16), np.float32))
    assert all(model(image).shape == (2, 10)
               for model in (*map(head.network, head.HEADS), *map(lrn.network, lrn.NORMS.values())))


def test_lrn_has_the_papers_constants():
    layer = lrn.network(lrn.NORMS["on, as in the paper"])[2]
    a = np.random.default_rng(0).standard_normal((1, 16, 1, 1)) * 100
    squares = np.array([(a[0, max(0, i - 2):i + 3] ** 2).sum() for i in range(16)]).reshape(a.shape)
    assert np.allclose(layer(pyops.Tensor(a)).data, a / (2 + 1e-4 * squares) ** 0.75)


# ---- the command, the file, the docs

def test_the_command_prints_and_keeps_tables(tmp_path, monkeypatch, capsys):
    from pyops.bench.experiments import __main__ as command
    monkeypatch.setattr(command, "run", lambda name, seeds, fast, folder: quick(name))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["experiments", *arguments])
        return command.main()
    assert call("lrn", "head", "--quick", "--seeds", "1", "--out", str(tmp_path)) == 0
    printed, kept = capsys.readouterr().out, (tmp_path / "experiments.md").read_text()
    assert (quick("lrn").table() in printed and quick("head").table() in printed
            and quick("head").table() in kept)
    assert (kept.index("## head") < kept.index("## lrn")
            and "`python -m pyops.bench.experiments head --seeds 1 --quick`" in kept)
    assert call("head", "--out", str(tmp_path)) == 0
    again = (tmp_path / "experiments.md").read_text()
    assert (again.count("## head") == 1 and "experiments head --seeds 3`" in again
            and quick("lrn").table() in again)
    page, other = tmp_path / "docs" / "a.md", tmp_path / "docs" / "b.md"
    page.parent.mkdir()
    stale = quick("head").table().replace("24,170", "24,171")
    page.write_text(f"before\n\n{stale}\n\nafter\n")
    other.write_text(f"{quick('lrn').table().replace('55,978', '1')}\n")
    assert call("head", "--docs", str(tmp_path / "docs")) == 0
    assert (page.read_text() == f"before\n\n{quick('head').table()}\n\nafter\n"
            and "55,978" not in other.read_text())
    assert "a.md" in (printed := capsys.readouterr().out) and "b.md" not in printed
    for wrong, said in ((["depth"], "no experiment is called depth"), (["--seeds", "0"], "must be positive")):
        with pytest.raises(SystemExit):
            call(*wrong)
        assert said in capsys.readouterr().err
    for wrong in (lambda: experiments.run("depth"), lambda: experiments.run("head", 0)):
        with pytest.raises(ValueError):
            wrong()


def test_no_two_experiments_tables_have_the_same_head():
    heads = [quick(name).table().splitlines()[0] for name in experiments.NAMES]
    assert len(set(heads)) == len(heads), "or `quote` could not tell them apart"


def test_a_spread_is_a_mean_and_the_samples_deviation():
    assert (outcome.spread([1.0, 3.0], 2) == "2.00 +- 1.41" and outcome.spread([1.25], 1) == "1.2"
            and outcome.spread([1234, 1234], None) == "1,234")


@pytest.mark.parametrize("page", [
    "training.md", "segmentation.md",
    *(f"models/{name}.md" for name in ("plain", "resnet", "all_cnn", "googlenet", "alexnet"))])
def test_the_docs_quote_the_recorded_numbers(page):
    recorded, text = RESULTS.read_text(), (ROOT / "docs" / page).read_text()
    quoted = re.findall(r"^\| .*\+- .*\|$", text, re.M)
    assert quoted and all(row in recorded for row in quoted), [row for row in quoted if row not in recorded]
    for picture in re.findall(r"!\[\w+\]\((\S*experiments/\w+\.png)\)", text):
        assert (ROOT / "docs" / page).parent.joinpath(picture).is_file(), picture
