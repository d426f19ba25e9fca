"""The model by which the benchmark's times on a GPU are foretold: its arithmetic, what it reads of machine
code, and that its table is of these kernels."""
from dataclasses import replace

import pytest

from pyops.bench.gpu import estimates, model
from pyops.bench.gpu.code_costs import Costs, costs_of
from pyops.bench.gpu.launches import launches, rows_and_precisions
from pyops.bench.gpu.report import PUBLISHED, floor, foreseen, report
from pyops.bench.gpu_rows import ROWS, table
from pyops.cuda import machine_code, nvrtc
from pyops.cuda.machine_code import Instruction

LIMITS = {"copy": model.H200.bytes / 1e9, "bf16": model.H200.half / 1e12, "tf32": model.H200.tf32 / 1e12,
          "f32": 2 * 32 * model.H200.issue / 1e12}


@pytest.mark.parametrize("field", ("bytes", "instructions", "flops"))
def test_more_work_takes_no_less_time(field):
    work = model.Work(1e6, 1e6, 1000, 1e9, "half")
    times = [model.seconds([replace(work, **{field: getattr(work, field) * more})])[0] for more in (1, 3, 100, 1e4)]
    assert times == sorted(times) and times[-1] > times[0]


def test_more_blocks_of_the_same_work_take_no_less_time():
    times = [model.seconds([model.Work(0, 1e6 * blocks, blocks)])[0] for blocks in range(1, 400)]
    assert all(more >= 0.999999 * less for less, more in zip(times, times[1:])) and times[-1] > 2.9 * times[0]


def test_the_longest_part_counts_and_launches_are_added():
    """4.3 GB take a millisecond of memory; a half of that, of tensor cores, is hidden behind it."""
    work = model.Work(4.3e9, 0, 132, 0.5e-3 * 7.9e14 * 0.63, "half")
    took, limit = model.seconds([work, work])
    assert took == pytest.approx(2e-3 + 2 * model.H200.launch) and limit == "memory"
    assert model.seconds([model.Work(0, 0, 1)] * 3) == (3 * model.H200.launch, "launch")


def test_an_idle_half_of_the_device_doubles_what_it_computes():
    one, two = (model.parts(model.Work(0, 1e6, blocks))["issue"] for blocks in (132, 66))
    assert two == pytest.approx(2 * one)


def code(*names):
    """Instructions 16 bytes apart; `loop` jumps back to `begin`, `back:n` by n."""
    found = []
    for i, name in enumerate(names):
        name, _, back = name.partition(" <- ")
        found.append(Instruction(16 * i, name, 16 * (i - int(back)) if back else None))
    return found


def test_costs_of_a_copy():
    """Four instructions move 2 x 16 bytes a thread."""
    assert costs_of(code("IMAD", "LDG.E.128", "STG.E.128", "EXIT", "NOP", "NOP"), "f32") == Costs(
        4 / (2 * 16 * 32), 0.0, "", False)


def test_costs_of_a_product_are_those_of_its_loop():
    """The loop around it, with an epilogue's multiply-adds, and a loop that copies within it are left out."""
    loop = ("LDSM", "LDG.E", "IADD3", "BRA <- 2", "HMMA.16816.F32.BF16", "HMMA.16816.F32.BF16", "BRA <- 6")
    found = costs_of(code("MOV", *loop, "FFMA", "FFMA", "STG.E", "BRA <- 10"), "bf16")
    assert (found.per_flop, found.unit, found.wgmma) == (4 / (2 * 4096), "half", False)


def test_wgmma_is_shared_by_four_warps():
    found = costs_of(code("HGMMA.64x256x16.F32.BF16", "BRA <- 1"), "bf16")
    assert found.wgmma and found.per_flop == 2 / (2 * 64 * 256 * 16 / 4)


def test_every_row_has_launches():
    """And their arrays are no smaller than what the row has to read and write."""
    for row, precision in rows_and_precisions(table(small=True)):
        found = launches(row, precision)
        assert found, row.name
        assert all(launch.bytes > 0 and launch.blocks > 0 for launch in found)


def test_the_table_is_of_the_rows_and_above_their_floors():
    found = estimates.table()
    assert set(found) == {(row.name, precision) for row, precision in rows_and_precisions(ROWS)}
    for row, precision in rows_and_precisions(ROWS):
        assert found[row.name, precision].ms >= 0.999 * floor(row, precision, LIMITS), (row.name, precision)


def test_a_report_of_no_run_has_every_row():
    text = report(None)
    assert text.count("not measured") >= len(estimates.table())


MISSING = nvrtc.missing() or machine_code.missing()


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=MISSING or "can run")
@pytest.mark.parametrize("match", ("^relu .* bf16$", "^max_pool", "^linear square .* bf16$", "^softmax 8192"))
def test_the_table_is_of_these_kernels(match):
    """Within what another NVRTC's machine code changes; else `python -m pyops.bench.gpu estimates --write`."""
    for line in estimates.text(match).splitlines():
        name, precision, ms, limit = line.split(" | ")
        kept = estimates.table()[name, precision]
        assert float(ms) == pytest.approx(kept.ms, rel=0.1) and limit == kept.limit


def test_no_prediction_is_above_its_estimate():
    for (name, precision), found in estimates.table().items():
        row = next(row for row in ROWS if row.name == name)
        if foretold := foreseen(row, precision):
            low, high = map(int, foretold.rstrip("%").split("-"))
            assert 0 < low <= high <= 100 * floor(row, precision, PUBLISHED) / found.ms, (name, precision, foretold)
