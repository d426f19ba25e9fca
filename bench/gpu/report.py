"""What the lines of a run say: what failed, what was not run, and every row beside torch's, the
device's ceiling, the estimate (estimates.txt) and the prediction (predictions.py). Without a run: the
rows, not measured, with what is expected of them."""
from __future__ import annotations

import json
from pathlib import Path

from ..gpu_rows import ROWS, Row, table
from . import estimates
from .predictions import predicted

# whose ceiling is theirs, how many products they take for one, and the size of a value
CEILING = {"f32": ("f32", 1, 4), "tf32": ("tf32", 1, 4), "3xtf32": ("tf32", 3, 4), "bf16": ("bf16", 1, 2),
           "hopper": ("bf16", 1, 2)}
# an H200's, as published, where a run has not measured them
PUBLISHED = {"copy": 4300.0, "bf16": 790.0, "tf32": 400.0, "f32": 50.0}


def report(folder: Path | None) -> str:
    """The text of folder/results.jsonl; of no run without a folder."""
    if folder is None:
        return expected()
    path = folder / "results.jsonl" if folder.is_dir() else folder
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    limits = ceilings(lines)
    parts = [machine(lines), counts(lines), failures(lines), times(lines, limits), advice(lines, limits)]
    return "\n\n".join(part for part in parts if part)


def of(lines, stage):
    return [line for line in lines if line["stage"] == stage]


def ceilings(lines) -> dict[str, float]:
    """GB/s and TFLOP/s: those measured, else those published."""
    found = {line["case"]: line.get("GB/s") or line.get("TFLOP/s") for line in of(lines, "ceilings")
             if "failed" not in line}
    return {**PUBLISHED, **found}


def machine(lines) -> str:
    told = [line for line in lines if line["case"] in ("machine", "device")]
    hidden = ("stage", "case", "seconds", "headers")
    return "\n".join(", ".join(f"{k} {v}" for k, v in line.items() if k not in hidden) for line in told)


def counts(lines) -> str:
    """A line a stage: passed of run, and what was not run."""
    text = []
    for stage in dict.fromkeys(line["stage"] for line in lines if line["stage"] != "machine"):
        ran = [line for line in of(lines, stage) if "not run" not in line]
        left = [line["not run"] for line in of(lines, stage) if "not run" in line]
        passed = sum("failed" not in line for line in ran)
        missing = ("" if not left else ", some not run (a part did not start)" if None in left
                   else f", {sum(left)} not run for want of time")
        text.append(f"{stage:<16} {passed} of {len(ran)} passed{missing}")
    return "\n".join(text)


def failures(lines, most=40) -> str:
    failed = [f"FAILED {line['stage']}: {line['case']}: {line['failed']}" for line in lines if "failed" in line]
    more = [f"... and {len(failed) - most} more"] if len(failed) > most else []
    return "\n".join(failed[:most] + more)


# ---- times

def floor(row: Row, precision: str, limits) -> float:
    """Milliseconds that no kernel can be faster than: of the traffic or of the products."""
    unit, products, size = CEILING[precision]
    return max(row.elements * size / limits["copy"] / 1e6, products * row.flops / limits[unit] / 1e9)


def known_rows() -> dict[str, Row]:
    return {row.name: row for small in (True, False) for row in table(small)}


def times(lines, limits) -> str:
    measured, rows = [*of(lines, "rows"), *of(lines, "hopper-rows")], known_rows()
    text = [f"{'row':<58} {'type':<7} {'ours ms':>9} {'estimate':>9} {'torch ms':>9} {'ratio':>6} {'of floor':>8} "
            f"{'predicted':>9} {'host us':>8}"]
    for line in measured:
        if "ours" in line and line["row"] in rows:
            row, precision, ours = rows[line["row"]], line["precision"], line["ours"]
            reached, foretold = floor(row, precision, limits) / ours["ms"], estimated(row, precision)
            text.append(f"{row.name:<58} {precision:<7} {ours['ms']:>9.4f} {foretold:>9} "
                        f"{line['torch']['ms']:>9.4f} {line['ratio']:>6.2f} {reached:>8.0%} "
                        f"{foreseen(row, precision):>9} {ours['host us']:>8.1f}")
    return "\n".join([*text, *LEGEND]) if len(text) > 1 else ""


LEGEND = ("estimate: milliseconds at best, by bench/gpu/model.py from machine code, shapes and an H200's limits; "
          "not measured",
          "predicted: of the floor, judged by reading the kernels, and no more than the estimate allows; not measured")


def estimated(row: Row, precision: str) -> str:
    found = estimates.table().get((row.name, precision))
    return f"{found.ms:.4f}" if found else ""


def foreseen(row: Row, precision: str) -> str:
    """The prediction, which goes no further than the row's estimate."""
    found = estimates.table().get((row.name, precision))
    return predicted(row, precision, floor(row, precision, PUBLISHED) / found.ms if found else None)


def expected() -> str:
    """Every row, not measured, with its estimate and what is expected of it."""
    text = [f"{'row':<58} {'type':<7} {'ours ms':>12} {'estimate':>9} {'limited by':>10} {'floor ms':>9} "
            f"{'predicted':>9}"]
    for (name, precision), found in estimates.table().items():
        row = next((row for row in ROWS if row.name == name), None)
        if row:
            text.append(f"{name:<58} {precision:<7} {'not measured':>12} {found.ms:>9.4f} {found.limit:>10} "
                        f"{floor(row, precision, PUBLISHED):>9.4f} {foreseen(row, precision):>9}")
    return "\n".join([*text, *LEGEND])


# ---- what to do next

def advice(lines, limits) -> str:
    """In the order in which it should be done: nothing is tuned before it is right."""
    failed = [line for line in lines if "failed" in line]
    stages = {line["stage"] for line in failed}
    said = []
    if "smoke" in stages:
        said.append("smoke failed: nothing below counts before that is mended")
    if "integers" in stages:
        said.append("mma.sync or ldmatrix differs on integers: compare ptx.cuh's fragments with the PTX manual")
    for stage in ("validate", "half"):
        cases = [line for line in failed if line["stage"] == stage]
        ran = [line for line in of(lines, stage) if "not run" not in line]
        if cases:
            names = sorted({line["case"].split(" ")[0] for line in cases})
            said.append(f"{stage}: {len(cases)} of {len(ran)} differ, rows {', '.join(names[:12])}: mend these "
                        "before anything is tuned")
    if "hopper-integers" in stages:
        said.append("wgmma differs on integers: PYOPS_HOPPER stays off; the failure shows the first 8 x 8 of both")
    elif any("exact" in line for line in of(lines, "hopper-integers")):
        said.append("wgmma is exact: PYOPS_HOPPER can become the default where hopper-rows are faster")
    said += slowest(lines, limits)
    return "next:\n" + "\n".join(f"  {i}. {text}" for i, text in enumerate(said, 1)) if said else ""


def slowest(lines, limits, most=6) -> list[str]:
    """The rows that are furthest behind torch, and those that time the host."""
    measured = [line for line in (*of(lines, "rows"), *of(lines, "hopper-rows")) if "ours" in line]
    behind = sorted((line for line in measured if line["ratio"] < 0.8), key=lambda line: line["ratio"])
    said = [f"{line['row']} ({line['precision']}): {1 / line['ratio']:.1f} times torch's time"
            for line in behind[:most]]
    host = [line for line in measured if line["ours"]["host us"] > 1e3 * line["ours"]["ms"]]
    if host:
        said.append(f"{len(host)} rows take the host longer than the device: their launches, not their kernels, "
                    "are what a network waits for")
    return said
