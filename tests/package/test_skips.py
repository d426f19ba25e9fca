"""What a test skips without is either installed by `make test` or expected in tests/skips.txt: a
package that happens to be here would hide a skip that fails the run on a fresh machine."""
import ast
import re
from pathlib import Path

import pytest
from tiers import expected, matches

ROOT = Path(__file__).parents[2]
# import name -> distribution, where they differ
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image", "cuda": "cuda-bindings",
                 "cv2": "opencv-contrib-python-headless", "pytest_benchmark": "pytest-benchmark",
                 "ml_dtypes": "ml_dtypes"}
# what another package of the extra brings, the Makefile installs, Python itself or tests/ hold
BROUGHT = {"scipy", "torchvision", "timm", "tomllib", "resource", "pyops", "torchvision_peers", "transformers_peers"}


def distributions(extra: str, extras: dict[str, list[str]]) -> set[str]:
    """The distributions of an extra, in lower case, with those of the extras that it names."""
    found = set()
    for line in extras[extra]:
        name, inner = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line).groups()
        if name == "pyops-kernels":
            for part in inner.split(","):
                found |= distributions(part, extras)
        else:
            found.add(name.lower())
    return found


def wanted(path: Path):
    """Every package that a file of tests asks for by pytest.importorskip, said as a literal."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                and node.func.attr == "importorskip" and isinstance(node.args[0], ast.Constant)):
            yield node.args[0].value


def test_a_package_that_tests_skip_without_is_installed_or_expected():
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = distributions("test", extras)
    lines = expected(ROOT / "tests" / "skips.txt")
    for path in sorted((ROOT / "tests").rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for name in wanted(path):
            top = name.split(".")[0]
            if top in BROUGHT or DISTRIBUTIONS.get(top, top).lower() in installed:
                continue
            reason = f"could not import '{name}'"
            assert any(matches(place, where) and matches(f"{reason}: ...", why)
                       for where, why in lines), f"{place} skips without {name}, and tests/skips.txt has no line"
