"""pyops validate: every check of every case of every op, on every backend of this machine, in
both element types."""
from __future__ import annotations

import time
import traceback
import xml.etree.ElementTree as xml
from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from . import UsageError, known

REALS = ("f32", "f64")


def add_arguments(parser):
    parser.add_argument("--op", help="only this op")
    parser.add_argument("--backend", help="only this backend")
    parser.add_argument("--case", metavar="GLOB", help="only cases whose name matches, e.g. '*stride2*'")
    parser.add_argument(
        "--kernel", metavar="FILE.cu",
        help="a CUDA file of your own, on the emulator, with the cases in FILE.cases.py beside it")
    parser.add_argument("--junit", metavar="FILE", help="also write the results as JUnit XML")


@dataclass(frozen=True)
class Result:
    op: str
    name: str        # case-check-backend-type, as the tests name it
    seconds: float
    outcome: str     # passed | failed | skipped | refused, by the compiler
    detail: str = ""


def run(args) -> int:
    from ..core.backends import BACKENDS
    from ..core.registry import OPS
    if args.kernel:
        return run_kernel(args)
    ops = [known(args.op, OPS, "op")] if args.op else list(OPS)
    backends = ([known(args.backend, BACKENDS, "backend")] if args.backend
                else [n for n, b in BACKENDS.items() if b.by_default and b.sets])
    if args.backend and BACKENDS[args.backend].missing:
        print(f"backend {args.backend}: {BACKENDS[args.backend].missing}")
        return 2
    results = []
    for result in check_all(ops, backends, args.case or "*"):
        results.append(result)
        if result.outcome == "failed":
            print(f"FAILED {result.op} {result.name}: {result.detail.strip().splitlines()[-1]}", flush=True)
    if args.junit:
        write_junit(args.junit, results)
    if not results:
        print(f"no case matches {args.case!r}")
        return 2
    print(table(results, backends))
    return int(any(r.outcome == "failed" for r in results))


def run_kernel(args) -> int:
    """--kernel: another's .cu file, launched as its cases say."""
    from ..cuda import emulator
    from ..cuda.user_kernel import cases_of, failures
    if args.backend not in (None, "cuda-emulated"):
        raise UsageError(f"--kernel runs on cuda-emulated, not on {args.backend}")
    if why := emulator.missing():
        raise UsageError(why)
    path = Path(args.kernel).resolve()
    try:
        if not path.is_file():
            raise FileNotFoundError(f"{args.kernel} is no file")
        cases = [c for c in cases_of(path) if fnmatch(c.name, args.case or "*")]
        if not cases:
            raise UsageError(f"no case matches {args.case!r}")
        results = [Result(case.kernel, f"{case.name}-{run}", 0, "failed" if wrong else "passed", wrong)
                   for case, run, wrong in failures(path, cases)]
    except (OSError, ValueError, emulator.CompileError) as error:
        raise UsageError(str(error)) from None
    for r in results:
        if r.outcome == "failed":
            print(f"FAILED {r.op} {r.name}: {r.detail.strip()}")
    if args.junit:
        write_junit(args.junit, results)
    passed = sum(r.outcome == "passed" for r in results)
    print(f"{path.name}: {len(cases)} cases, {passed} runs passed, {len(results) - passed} failed; no GPU "
          "was used")
    return int(passed != len(results))


def check_all(ops, backends, pattern):
    from .. import validate
    from ..core.registry import OPS
    for op, case, check in validate.checks(map(OPS.get, ops)):
        if fnmatch(case.why, pattern):
            for backend in backends:
                for real in REALS:
                    if validate.applies(check, case, backend, real):
                        yield check_one(op, case, check, backend, real)


def check_one(op, case, check, backend, real) -> Result:
    from ..validate import CHECKS, Refused
    name = f"{case.call}-{case.why}-{check}-{backend}-{real}"
    if backend in op.todo:
        return Result(op.name, name, 0, "skipped", op.todo[backend])
    start = time.perf_counter()
    try:
        CHECKS[check](op, case, backend, real)
    except Refused as why:
        return Result(op.name, name, time.perf_counter() - start, "refused", str(why))
    except Exception:   # any error of one case is that case's failure
        return Result(op.name, name, time.perf_counter() - start, "failed", traceback.format_exc())
    return Result(op.name, name, time.perf_counter() - start, "passed")


def table(results, backends) -> str:
    """Passed, failed, skipped and refused by op, and their sum."""
    counts, seconds = defaultdict(lambda: defaultdict(int)), defaultdict(float)
    for r in results:
        for op in (r.op, "all"):
            counts[op][r.outcome] += 1
            seconds[op] += r.seconds
    width = max(map(len, counts))
    lines = [f"{'op':<{width}} {'passed':>8} {'failed':>8} {'skipped':>8} {'refused':>8} {'seconds':>8}"]
    for op in [n for n in counts if n != "all"] + ["all"]:
        c = counts[op]
        lines.append(f"{op:<{width}} {c['passed']:>8} {c['failed']:>8} {c['skipped']:>8} {c['refused']:>8} "
                     f"{seconds[op]:>8.1f}")
    return "\n".join([*lines, f"backends: {', '.join(backends)}; types: {', '.join(REALS)}"])


def write_junit(path, results):
    suite = xml.Element("testsuite", name="pyops validate", tests=str(len(results)),
                        failures=str(sum(r.outcome == "failed" for r in results)),
                        skipped=str(sum(r.outcome in ("skipped", "refused") for r in results)),
                        time=f"{sum(r.seconds for r in results):.3f}")
    for r in results:
        case = xml.SubElement(suite, "testcase", classname=r.op, name=r.name, time=f"{r.seconds:.4f}")
        if r.outcome != "passed":
            node = xml.SubElement(case, "failure" if r.outcome == "failed" else "skipped",
                                  message=r.detail.strip().splitlines()[-1])
            node.text = r.detail
    xml.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
