"""docs/training.md can be followed."""
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pyops
from pyops.train import uci_digits

Image = pytest.importorskip("PIL.Image")
for needed in ("sklearn", "matplotlib", "optuna"):
    pytest.importorskip(needed)


def few_digits():
    whole = uci_digits()
    return replace(whole, train_images=whole.train_images[:200], train_labels=whole.train_labels[:200])


def test_the_pages_code_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """As a new user would paste it; the photos and weights it names are made here, and
    its digits are fewer."""
    torch = pytest.importorskip("torch")
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) == 6
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pyops.train, "uci_digits", few_digits)
    rng = np.random.default_rng(0)
    for folder in (Path("photos") / part / name for part in ("train", "test") for name in "abcde"):
        folder.mkdir(parents=True)
        for i in range(2):
            Image.fromarray(rng.integers(0, 256, (70, 80, 3), np.uint8)).save(folder / f"{i}.png")
    torch.save({k: torch.from_numpy(v) for k, v in pyops.create_model("resnet18").state_dict().items()},
               "resnet18.pth")
    names: dict = {}
    pyops.manual_seed(0)
    for block in blocks:
        if "resnet18" in block:   # one epoch shows what five do
            block = block.replace("epochs=5", "epochs=1")
        exec(compile(block, "training.md", "exec"), names)
    assert names["report"].ok, str(names["report"])
    assert names["diagnosis"].findings and len(names["found"].trials) == 10
    assert [len(names["groups"]), names["groups"][1]["lr"]] == [2, 1e-4]
    for written in ("lenet5/best.safetensors", "lenet5/checkpoint.safetensors", "lenet5/curve.png",
                    "lenet5/diagnosis.png", "lenet5/wrong.png", "head/curve.png", "tuned/curve.png"):
        assert (tmp_path / "runs" / written).is_file(), written
    trunk = pyops.create_model("lenet5_modern", weights="runs/lenet5/best.safetensors", include_top=False)
    assert np.array_equal(trunk.conv1.weight.data,
                          pyops.train.checkpoint.load("runs/lenet5/best.safetensors")[0]["conv1.weight"])
