"""docs/models.md and its pages say what the networks are."""
import re
from pathlib import Path

import pytest

from pyops import models
from pyops.models.registry import NETWORKS, families
from pyops.nn import init

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_has_every_network_with_its_parameters():
    rows = dict(re.findall(r"^\| (\w+) \| [\dx]+ \| ([\d,]+) \|", (DOCS / "models.md").read_text(), re.M))
    assert list(rows) == models.list_models(task="classification")
    for name in [makes[0].name for makes in families().values()]:
        with init.skip_draws():
            assert int(rows[name].replace(",", "")) == sum(
                p.size for p in models.create_model(name).parameters()), name


@pytest.mark.parametrize("family", families())
def test_a_family_has_a_page_with_its_drawing_as_the_command_makes_it(family, tmp_path):
    from pyops import cli
    page = (DOCS / "models" / f"{family}.md").read_text()
    name, depth = re.search(r"^`pyops draw (\w+) --depth (\d)`:", page, re.M).groups()
    assert cli.main(["draw", name, "--depth", depth, "-o", str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.svg").read_text() == (DOCS / "models" / f"{family}.svg").read_text()


def test_a_network_is_registered_with_the_image_that_it_says():
    with init.skip_draws():
        for entry in (n for n in NETWORKS.values() if n.task == "classification"):
            assert tuple(models.create_model(entry.name).image) == entry.image, entry.name


def test_names_are_listed_by_pattern_and_task():
    assert models.list_models("vgg1?") == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert "resnet50_v2" in models.list_models("*res*") and models.list_models("no*such") == []
    assert "vgg16" in models.list_models(task="classification")
    assert not set(models.list_models(task="classification")) & set(models.list_models(task="detection"))
