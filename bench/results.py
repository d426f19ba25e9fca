"""Results as a file that `pytest-benchmark compare` reads: its JSON, its statistics, its
machine and commit stamp."""
from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pyops
from pyops import machine

from .runners import RUNNERS
from .suite import COMPILED, OURS, Row, Settings, backend_name


def machine_info(settings: Settings) -> dict:
    """pytest-benchmark's stamp without the host's name, plus what was chosen and measured here."""
    from pytest_benchmark.plugin import pytest_benchmark_generate_machine_info
    info = pytest_benchmark_generate_machine_info()
    info["node"] = ""
    info["pyops"] = {"version": pyops.__version__, "cpu": machine.cpu_model(), "backend": backend_name(),
                     "threads": settings.threads, "load": settings.load}
    if settings.ceilings:
        info["pyops"] |= {"peak_gflops": settings.ceilings.gflops,
                          "peak_gbytes": {level: rate for level, _, rate in settings.ceilings.bandwidth}}
    info["packages"] = {name: version_of(name) for name in ("numpy", *packages(settings.peers))}
    return info


def packages(peers) -> list[str]:
    """What they are packaged as, each once."""
    return list(dict.fromkeys(RUNNERS[peer].needs[0] for peer in peers if RUNNERS[peer].needs))


def version_of(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def as_json(rows: list[Row], settings: Settings) -> dict:
    import pytest_benchmark
    from pytest_benchmark.utils import get_commit_info
    return {
        "machine_info": machine_info(settings), "commit_info": get_commit_info("pyops"),
        "benchmarks": [entry(row, runner, settings) for row in rows for runner in row.timings],
        "datetime": datetime.now(timezone.utc).isoformat(), "version": pytest_benchmark.__version__,
        "skipped": {f"{row.group}: {row.name}": row.skipped for row in rows if row.skipped},
    }


def entry(row: Row, runner: str, settings: Settings) -> dict:
    from pytest_benchmark.stats import Stats
    timing, stats = row.timings[runner], Stats()
    for sample in timing.samples:
        stats.update(sample)
    extra = {"op": row.op, "error": timing.error, "flops": row.flops, "bytes": row.bytes,
             "gflops": row.flops / timing.min / 1e9, "gbytes": row.bytes / timing.min / 1e9,
             "percent_of_peak": 100 * row.attainable / timing.min, "threads": settings.threads,
             "ratio_to_pyops": timing.min / row.ours.min if row.ours else None}
    if timing.setup is not None:
        extra |= {"setup": timing.setup, "memory": timing.memory}
    if runner == COMPILED:
        extra |= {"algorithm": row.step.algorithm, "step": row.step.seconds}
    name = f"{row.name}[{runner}]"
    return {"group": row.group, "name": name, "fullname": f"{row.group}/{name}", "params": {"runner": runner},
            "param": runner,
            "extra_info": extra, "options": {"timer": "perf_counter", "min_rounds": len(timing.samples)},
            "stats": {**stats.as_dict(), "data": timing.samples, "iterations": timing.iterations}}


def write(path: str, rows: list[Row], settings: Settings) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(as_json(rows, settings), indent=1))


def read_old(path: str) -> dict[str, float]:
    """fullname -> shortest time, of our own rows in an earlier file. Raises ValueError for a
    file that is not one."""
    try:
        content = json.loads(Path(path).read_text())
        return {b["fullname"]: b["stats"]["min"] for b in content["benchmarks"] if b["param"] == OURS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a result of pyops bench: {error}") from error


def compared(rows: list[Row], old: dict[str, float]) -> list[tuple[str, str, float, float]]:
    """(group, name, old seconds, new seconds) of the rows that both have."""
    keys = {f"{row.group}/{row.name}[{OURS}]": row for row in rows if row.ours}
    return [(row.group, row.name, old[key], row.ours.min) for key, row in keys.items() if key in old]
