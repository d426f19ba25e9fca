"""docs/detection.md can be followed, and names what there is."""
import re
from pathlib import Path

import pytest

import pyops
from pyops import cli
from pyops.train import detection

for needed in ("PIL", "sklearn", "matplotlib", "safetensors"):
    pytest.importorskip(needed)
PAGE = (Path(__file__).parents[2] / "docs" / "detection.md").read_text()


def test_the_pages_code_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    """As a new user would paste it; the annotations that it names are made here."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", "scenes", "animals", "--count", "8"]) == 0
    names: dict = {}
    pyops.manual_seed(0)
    for block in blocks:
        exec(compile(block, "detection.md", "exec"), names)
    assert names["animals"].take([0, 1])[0].shape == (2, 3, 64, 64)
    for written in ("found.png", "runs/digits/checkpoint.safetensors", "runs/digits/curve.png", "runs/digits/pr.png"):
        assert (tmp_path / written).is_file(), written
    assert "no problems" in capsys.readouterr().out and names["boxes"].shape == (1, 50, 4)


def test_the_page_names_the_readers_and_augmentations():
    for name in ("read_coco", "read_voc", "read_yolo", "read_csv", "read", "Scenes", "coco_ap", "voc_ap"):
        assert name in PAGE and hasattr(detection, name)
    for name in ("Flip", "Crop", "ScaleJitter", "HSV", "Mosaic", "MixUp"):
        assert f"`{name}(" in PAGE and hasattr(detection.augment, name)


def test_the_pages_commands_parse():
    for line in re.findall(r"^    pyops (.+?)(?: +#.*)?$", PAGE, re.M):
        words = [word.strip('"') for word in line.split()]
        assert cli.parser(words[0]).parse_args(words).command == words[0]
