"""pyops bench: time, rate, share of the machine's peak and error of every named shape, beside the peers."""
from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from . import UsageError, known


WIDTH = 132   # columns that a table with four peers needs


def add_arguments(parser):
    parser.add_argument("--op", help="only this op: a function of pyops.functional or a row; its own cases if it has no named shapes")
    parser.add_argument("--net", help="only this network")
    parser.add_argument("--peer", metavar="NAMES", help="comma-separated: torch, onnxruntime, openvino, ncnn, or none "
                                                        "(default: those installed)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads for everyone (default: as pyops info says)")
    parser.add_argument("--json", metavar="FILE", help="write the results; pytest-benchmark compare reads them")
    parser.add_argument("--compare", metavar="FILE", help="print the ratio to an earlier --json, row by row")
    parser.add_argument("--html", metavar="FILE", help="write the report with a roofline as one HTML page")
    parser.add_argument("--quick", action="store_true", help="a rough look: fewer rounds")


def run(args) -> int:
    absent = [p for p in ("rich", "pytest_benchmark", *(["matplotlib"] if args.html else [])) if find_spec(p) is None]
    if absent:
        raise UsageError(f"pyops bench needs {', '.join(absent)}: pip install 'pyops[bench]'")
    from rich.console import Console

    from ..bench import report, results
    settings, old = prepare(args)
    console = Console()
    console = Console(width=max(console.width, WIDTH))
    rows = measure_all(args, settings, console)
    content = results.as_json(rows, settings)
    report.print_tables(rows, settings, content["machine_info"], console)
    if old is not None:
        report.print_comparison(results.compared(rows, old), console)
    if args.json:
        results.write(args.json, rows, settings)
    if args.html:
        Path(args.html).parent.mkdir(parents=True, exist_ok=True)
        Path(args.html).write_text(report.page(rows, settings, content))
        console.print(f"wrote {args.html}", highlight=False)
    return int(any(row.wrong for row in rows))


def prepare(args):
    """Settings and the old results, with everything the user named checked before anything is measured."""
    from ..backends import get_backend
    from ..bench import results, suite
    from ..bench.shapes import NETWORKS
    from ..machine import ceilings
    from ..threads import get_num_threads
    if args.op:
        known(args.op, sorted(suite.names_of_ops()), "op")
    if args.net:
        known(args.net, NETWORKS, "network")
    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads must be at least 1, got {args.threads}")
    chosen = peers_of(args.peer)
    try:
        old = results.read_old(args.compare) if args.compare else None
    except ValueError as error:
        raise UsageError(str(error)) from error
    load = os.getloadavg()[0]
    threads, backend = args.threads or get_num_threads(), get_backend()
    roofs = ceilings(backend.name, "f32", threads, 0.05 if args.quick else 0.2) if backend.sets else None
    return suite.Settings(threads, chosen, 0.2 if args.quick else 1.5, roofs, load), old


def peers_of(names: str | None) -> tuple[str, ...]:
    from ..bench.peers import PEERS, missing
    if names is None:
        return tuple(p for p in PEERS if not missing(p))
    chosen = tuple(known(name.strip(), PEERS, "peer") for name in names.split(",") if name.strip() != "none")
    for peer in chosen:
        if missing(peer):
            raise UsageError(f"peer {peer} needs {', '.join(missing(peer))}: pip install 'pyops[bench]'")
    return chosen


def measure_all(args, settings, console):
    from ..bench import suite
    from ..bench.shapes import NETWORKS
    jobs = [] if args.net else [(e[1], suite.run_case, e) for e in suite.select(args.op)]
    if not args.op:
        jobs += [(n, suite.run_network, (n,)) for n in ([args.net] if args.net else NETWORKS)]
    rows = []
    with console.status("measuring") as status:
        for i, (name, function, arguments) in enumerate(jobs):
            status.update(f"{i + 1} of {len(jobs)}: {name}")
            rows.append(function(*arguments, settings))
    return rows
