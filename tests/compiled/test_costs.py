"""What algorithms cost, as measured and as kept, and the choices that follow; and that every
algorithm keeps the bound of its precision."""
import dataclasses
import json

import numpy as np
import pytest

import pyops
from pyops import nn
from pyops.bench import precision
from pyops.cli import main
from pyops.core.backends import use_backend
from pyops.graph import costs, tune
from pyops.graph.compile import BOUNDS


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("PYOPS_COSTS", str(tmp_path / "kept" / "costs.json"))
    costs.of.cache_clear()
    yield tmp_path / "kept" / "costs.json"
    costs.of.cache_clear()


def algorithm(channels, size, **options):
    x = np.zeros((1, channels, size, size), np.float32)
    program = pyops.compile(nn.Conv2d(channels, channels, 3, padding=1, bias=False).eval(), x, **options)
    return next(s.algorithm for s in program.steps if s.op == "conv" and s.algorithm != "filters")


def test_what_is_kept_is_used(place):
    dear = dataclasses.replace(costs.DEFAULT["avx512"], transform=(1e6, 1e6, 1e6))
    isa = pyops.get_backend().name
    assert algorithm(64, 56) == "winograd4"
    assert costs.keep({isa: dear}) == place
    assert costs.of(isa) == dear and algorithm(64, 56) == "direct"


def test_costs_of_another_cpu_or_instruction_set_are_not_used(place):
    costs.keep({"avx2": dataclasses.replace(costs.ZEN4, direct=7.0)})
    assert costs.of("avx2").direct == 7.0 and costs.of("avx512") == costs.default("avx512")
    content = json.loads(place.read_text())
    place.write_text(json.dumps(content | {"cpu": "another"}))
    costs.of.cache_clear()
    assert costs.of("avx2") == costs.default("avx2")


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_broken_file_is_named(place, text):
    place.parent.mkdir()
    place.write_text(text)
    with pytest.raises(ValueError, match="costs.json does not hold costs"):
        costs.of("avx512")


def test_wrong_fields_are_refused(place):
    costs.keep({"avx2": costs.ZEN4})
    place.write_text(place.read_text().replace('"direct"', '"indirect"'))
    costs.of.cache_clear()
    with pytest.raises(ValueError, match="indirect"):
        costs.of("avx2")


@pytest.mark.parametrize("layer", [(64, 56), (256, 14), (512, 7), (512, 28)])
def test_the_number_of_threads_changes_no_choice(layer):
    assert len({algorithm(*layer, threads=threads) for threads in (1, 2, 8)}) == 1


def test_measuring(backend):
    found = tune.measure(backend, 1, rounds=1)
    assert found.threads == 1 and found.kept > 0
    assert all(v > 0 for v in (found.direct, found.cache, found.memory)) and len(found.transform) == 3
    # of a busy machine's times the fit may leave nothing to one of them
    assert all(v >= 0 for v in (found.winograd, *found.transform))


def test_measuring_what_is_not_there():
    with pytest.raises(ValueError, match="avx1024"):
        tune.measure("avx1024", 1)


def test_fitting_gives_back_what_times_were_made_of():
    def time(m, channels, size):
        tiles = (-(-size // m)) ** 2 / 2
        return tiles * (channels // 16) * ((m + 2) ** 2 * channels * 0.3 + {2: 40, 4: 110, 6: 230}[m])
    times = {(f"winograd{m}", layer): time(m, *layer) for m in costs.TILES for layer in tune.LAYERS}
    np.testing.assert_allclose(tune.fitted(times, 2), [0.3, 40, 110, 230], rtol=1e-6)


def test_the_command_keeps_nothing_when_told_so(place, capsys, monkeypatch):
    monkeypatch.setattr(tune, "measure",
                        lambda isa, threads: dataclasses.replace(costs.ZEN4, threads=threads))
    isa = pyops.get_backend().name
    assert main(["tune", "--dry-run"]) == 0 and not place.exists()
    assert main(["tune", "--backend", isa]) == 0 and place.exists()
    assert isa in capsys.readouterr().out
    assert main(["tune", "--backend", "avx1024"]) == 2


@pytest.mark.parametrize("name", precision.ALGORITHMS)
def test_errors_are_within_the_bound(backend, name):
    with use_backend(backend):
        errors = [precision.layer_error(name, channels, size, 0, backend)
                  for channels, size in ((16, 40), (64, 28), (256, 14), (512, 7))]
    assert max(errors) <= BOUNDS[precision.ALGORITHMS[name]]
