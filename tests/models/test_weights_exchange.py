"""Weights between torch and here: torch's state_dict as .pth and .safetensors into modules, a
model's own as .safetensors back to torch."""
import numpy as np
import pytest

import pyops
from pyops import nn
from pyops.models import weights
from pyops.train import checkpoint

torch = pytest.importorskip("torch")
files = pytest.importorskip("safetensors.torch")


def theirs():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
                               torch.nn.Flatten(), torch.nn.Linear(8 * 36, 4)).eval()


def ours():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                         nn.Linear(8 * 36, 4)).eval()


def answers(model, x):
    with pyops.no_grad():
        return model(pyops.Tensor(x)).data


X = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)


def stored(state, path):
    torch.save(state, path) if path.suffix == ".pth" else files.save_file(state, path)
    return path


def read(path):
    """The arrays of a file for a module that no table of names knows."""
    return weights.read_torch(path) if path.suffix == ".pth" else checkpoint.load(path)[0]


@pytest.mark.parametrize("kind", [".pth", ".safetensors"])
def test_torchs_file_into_a_module_and_back(kind, tmp_path):
    reference, model, again = theirs(), ours(), theirs()
    model.load_state_dict(read(stored(reference.state_dict(), tmp_path / f"theirs{kind}")))
    with torch.no_grad():
        want = reference(torch.from_numpy(X)).numpy()
        assert np.abs(answers(model, X) - want).max() <= 1e-5 * np.abs(want).max()
        model[4].weight.data[...] *= 2
        weights.save(model, tmp_path / "ours.safetensors")
        # strict: every name and shape is torch's
        again.load_state_dict(files.load_file(tmp_path / "ours.safetensors"))
        got = again(torch.from_numpy(X)).numpy()
        assert (np.abs(answers(model, X) - got).max() <= 1e-5 * np.abs(got).max()
                and np.abs(got - want).max() > 0.1 * np.abs(want).max())


@pytest.mark.parametrize("kind", [".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_files_of_other_float_types(kind, dtype, tmp_path):
    state = {k: v.to(getattr(torch, dtype)) if v.is_floating_point() else v
             for k, v in theirs().state_dict().items()}
    model = ours()
    model.load_state_dict(read(stored(state, tmp_path / f"theirs{kind}")))
    for key, value in model.state_dict().items():
        assert np.array_equal(value, state[key].float().numpy()), key


def test_a_type_without_numbers_in_numpy_is_refused(tmp_path):
    path = stored({"weight": torch.ones(3).to(torch.float8_e4m3fn)}, tmp_path / "eight.safetensors")
    with pytest.raises(ValueError, match="weight is of type F8_E4M3"):
        checkpoint.load(path)


@pytest.mark.parametrize("kind", [".pth", ".safetensors"])
def test_a_created_model_goes_through_torchs_file(kind, tmp_path):
    first = pyops.create_model("lenet5_modern").eval()
    weights.save(first, tmp_path / "first.safetensors")
    state = {k: v.clone() for k, v in files.load_file(tmp_path / "first.safetensors").items()}
    second = pyops.create_model("lenet5_modern", weights=str(stored(state, tmp_path / f"torchs{kind}")))
    assert all(np.array_equal(a, second.state_dict()[key]) for key, a in first.state_dict().items())


@pytest.mark.parametrize("change, match", [
    (lambda t: t.to(torch.cfloat), "is of type complex64"), (lambda t: t.to(torch.int8), "is of type int8"),
    (lambda t: t > 0, "is of type bool"), (lambda t: t.double() * 0 + 1e300, "has numbers beyond float32"),
    (lambda t: t.to_sparse(), "of layout torch.sparse_coo"),
    (lambda t: t.to(torch.float8_e4m3fn), "is of type torch.float8_e4m3fn"),
    (lambda t: t.to("meta"), "on meta"),
    (lambda t: torch.zeros(1, dtype=torch.bfloat16).expand(1 << 40), "more than a file of"),
], ids=["complex", "int8", "bool", "beyond", "sparse", "float8", "meta", "expanded"])
def test_weights_that_are_none_are_refused_by_name(tmp_path, change, match):
    model = pyops.create_model("lenet5_modern")
    state = {k: torch.from_numpy(v.copy()) for k, v in model.state_dict().items()}
    name = next(iter(state))
    torch.save(state | {name: change(state[name])}, tmp_path / "w.pth")
    before = {k: v.copy() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"{name}(?s:.*){match}"):
        weights.load(model, tmp_path / "w.pth")
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


def test_an_archive_that_claims_too_much_is_refused(tmp_path):
    import zipfile
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(80 << 20))
    with pytest.raises(ValueError, match="claims 83886080 bytes"):
        weights.load(pyops.create_model("lenet5_modern"), tmp_path / "w.pth")


def test_double_weights_that_fit_are_taken(tmp_path):
    model, other = pyops.create_model("lenet5_modern"), pyops.create_model("lenet5_modern")
    torch.save({k: torch.from_numpy(v.copy()).double() if v.dtype.kind == "f" else torch.from_numpy(v)
                for k, v in model.state_dict().items()},
               tmp_path / "w.pth")
    weights.load(other, tmp_path / "w.pth")
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in other.state_dict().items())
