"""Our compiled networks beside those of another checkout, in turn: what a change of the
code did to their speed.

    python -m pyops.bench.against DIR [--net all] [--batch 1,8] [--quick]

DIR is a built checkout, such as `git worktree add DIR COMMIT` and `make build` there make one. Each
network gets the same weights and the same input in both, each in a process of its own; blocks of
calls alternate, so that whatever else the machine does meets both. Prints the other's time over
ours, by the shortest and by the median, and the geometric means; exit code 1 where answers differ.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from pyops import machine
from pyops.core.threads import get_num_threads

from . import networks
from .isolated import Failed, Process, interleave
from .shapes import MEASURED, NETWORKS
from .suite import WRONG, backend_name, error

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
RUNNER = "pyops.bench.runners:pyops_program"


@dataclass
class Comparison:
    """One network at one batch size: seconds a call by the shortest and by the median,
    the other's first."""
    network: str
    batch: int
    shortest: tuple[float, float]
    median: tuple[float, float]
    difference: float                    # of the answers, over the largest value
    memory: tuple[int | None, int | None]

    @property
    def ratio(self) -> float:
        return self.shortest[0] / self.shortest[1]

    @property
    def median_ratio(self) -> float:
        return self.median[0] / self.median[1]


def environment(folder: Path, threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(folder)}


def check(folder: Path) -> None:
    """ValueError unless Python, started in this folder, imports the pyops that lies
    there, and all of it."""
    text = ("import pyops, pyops._C, pyops.kernels, pyops.bench as b; print(*(m.__file__ for m in (pyops, "
            "pyops._C, pyops.kernels, b)), sep='\\n')")
    said = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, **environment(folder, 1)})
    elsewhere = [f
                 for f in said.stdout.splitlines() if not Path(f).resolve().is_relative_to(folder.resolve())]
    if said.returncode or elsewhere:
        why = said.stderr.strip().splitlines()[-1] if said.returncode else f"{elsewhere[0]} is imported there"
        raise ValueError(
            f"{folder} is no built checkout ({why}); an old one also needs the links that `make links` makes")


def commit(folder: Path) -> str:
    """Its short name, with a + where files differ from it; "" outside of git."""
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True,
                              text=True).stdout.strip()
    return git("rev-parse", "--short",
               "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def compare(name: str, batch: int, other: Path, files: Path, threads: int, block: float,
            seconds: float) -> Comparison:
    """Times both. Failed says which could not, and why."""
    processes: dict[str, Process] = {}
    try:
        for who, folder in (("theirs", other), ("ours", ROOT)):
            result = files / f"{who}.npy"
            job = {"runner": RUNNER, "network": name, "batch": batch, "folder": str(files),
                   "threads": threads, "precision": "default", "result": str(result)}
            try:
                processes[who] = Process(job, environment(folder, threads), folder)
            except Failed as why:
                raise Failed(f"{who}: {why}") from None
        for who, why in interleave(processes, block, seconds, ROUNDS).items():
            raise Failed(f"{who}: {why}")
    finally:
        for process in processes.values():
            process.close()
    a, b = (processes[who] for who in ("theirs", "ours"))
    return Comparison(name, batch, (min(a.samples), min(b.samples)),
                      (float(np.median(a.samples)), float(np.median(b.samples))),
                      error(np.load(files / "theirs.npy"), np.load(files / "ours.npy").astype(np.float64)),
                      (a.memory, b.memory))


def geometric_mean(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def as_json(other: Path, threads: int, rows: list[Comparison], failed: dict[str, str]) -> dict:
    means = {"geometric_mean": geometric_mean([r.ratio for r in rows]),
             "geometric_mean_of_medians": geometric_mean([r.median_ratio for r in rows])} if rows else {}
    return {"theirs": commit(other), "ours": commit(ROOT), "cpu": machine.cpu_model(),
            "backend": backend_name(), "threads": threads, "load": os.getloadavg()[0],
            "datetime": datetime.now(timezone.utc).isoformat(timespec="seconds"), **means,
            "networks": [{**asdict(r), "ratio": r.ratio, "median_ratio": r.median_ratio} for r in rows],
            "failed": failed}


def chosen(text: str) -> tuple[str, ...]:
    names = MEASURED if text == "all" else tuple(n.strip() for n in text.split(","))
    if unknown := [n for n in names if n not in NETWORKS]:
        raise argparse.ArgumentTypeError(
            f"no network is called {unknown[0]!r}; they are all, {', '.join(NETWORKS)}")
    return names


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.against",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("other", metavar="DIR", type=Path, help="a built checkout")
    parser.add_argument("--net", type=chosen, default="all", metavar="NAMES",
                        help="comma-separated, or all (default)")
    parser.add_argument("--batch", type=lambda text: [int(b) for b in text.split(",")], default="1,8",
                        metavar="SIZES", help="comma-separated (default: 1,8)")
    parser.add_argument("--threads", type=int, default=get_num_threads(), metavar="N")
    parser.add_argument("--quick", action="store_true",
                        help="a rough look: about 2 s a network and batch size, not 12")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="default: bench/results/against-COMMIT-DATE.json")
    args = parser.parse_args(arguments)
    other = args.other.resolve()
    try:
        check(other)
    except ValueError as why:
        parser.error(str(why))
    file = (args.json or ROOT / "bench" / "results"
            / f"against-{commit(other).rstrip('+')}-{datetime.now(timezone.utc):%Y-%m-%d}.json")
    block, seconds = (0.1, 2.0) if args.quick else (0.3, 12.0)
    rows: list[Comparison] = []
    failed: dict[str, str] = {}
    print(f"{commit(other)} over {commit(ROOT)}, {args.threads} threads, {backend_name()}; above 1: faster "
          "now")
    print(f"{'network':<28} {'batch':>5} {'theirs ms':>10} {'ours ms':>10} {'ratio':>7} {'of medians':>10} "
          f"{'difference':>10}")
    for name in args.net:
        with tempfile.TemporaryDirectory(prefix="pyops-against-") as folder:
            networks.write_inputs(networks.drawn(name), name, args.batch, Path(folder))
            for batch in args.batch:
                try:
                    rows.append(r := compare(name, batch, other, Path(folder), args.threads, block, seconds))
                except Failed as why:
                    failed[f"{name}, batch {batch}"] = str(why)
                    print(f"{name:<28} {batch:>5} {why}", flush=True)
                    continue
                print(f"{name:<28} {batch:>5} {1e3 * r.shortest[0]:>10.3f} {1e3 * r.shortest[1]:>10.3f} "
                      f"{r.ratio:>7.3f} {r.median_ratio:>10.3f} {r.difference:>10.1e}", flush=True)
        file.parent.mkdir(parents=True, exist_ok=True)      # kept at once: a run takes long
        file.write_text(json.dumps(as_json(other, args.threads, rows, failed), indent=1) + "\n")
    if rows:
        print(f"geometric mean of {len(rows)}: {geometric_mean([r.ratio for r in rows]):.3f} by the "
              f"shortest, {geometric_mean([r.median_ratio for r in rows]):.3f} by the median; written: "
              f"{file}")
    return int(bool(failed) or any(not r.difference <= WRONG for r in rows))


if __name__ == "__main__":
    sys.exit(main())
