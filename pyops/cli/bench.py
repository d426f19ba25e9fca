"""pyops bench: time, rate, share of the machine's peak and error of every named shape and of whole
networks, beside the peers."""
from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from . import UsageError, known

WIDTH = 140   # columns that a table with all peers needs


def add_arguments(parser):
    parser.add_argument("models", nargs="*", metavar="MODEL.onnx",
                        help="ONNX files, each beside ONNX Runtime and OpenVINO")
    parser.add_argument("--shape", metavar="NAME=1x3x224x224", action="append", default=[],
                        help="of an input whose shape a file leaves open")
    parser.add_argument(
        "--op",
        help="only this op: a function of pyops.functional or a row; its own cases if it has no named shapes")
    parser.add_argument("--group", help="only this group of shapes, eagerly and through pyops.compile: 'live "
                        "gaps', resnet50, overhead, vgg16 or deepbench")
    parser.add_argument("--net", metavar="NAMES", help="only these networks, comma-separated, or all, zoo "
                        "(the rest of the classifiers), segmentation or generative; each library in a process "
                        "of its own")
    parser.add_argument("--rnn", nargs="?", const="", metavar="NAME",
                        help="recurrent layers, forward and training step; with NAME only the shapes that "
                        "have it in their name: 'LSTM 512', b16, ragged")
    parser.add_argument("--detection", action="store_true",
                        help="suppression of boxes and pooling of regions beside ONNX Runtime and OpenCV, where these "
                        "are installed (python -m pyops.bench.detection_rows takes sizes)")
    parser.add_argument("--detectors", nargs="?", const="", metavar="NAMES",
                        help="whole detectors from image to boxes, and training steps, beside their peers; with NAMES, "
                        "comma-separated, those: yolov3,ssd300")
    parser.add_argument("--ops", nargs="?", const="", metavar="WORDS",
                        help="eager ops beside torch eager, forward and with gradients; with WORDS only calls that "
                             "have them in their name: 'conv2d groups'")
    parser.add_argument("--batch", metavar="SIZES",
                        help="batch sizes of networks, comma-separated (default: 1,8 with --net, else 1)")
    parser.add_argument("--precision", metavar="NAMES", default="default",
                        help="of our compiled networks, comma-separated: strict, default, fast")
    parser.add_argument("--peers", "--peer", metavar="NAMES",
                        help="comma-separated: torch, onnxruntime, openvino, ncnn, for networks "
                        "also torch-nhwc, torch-compile (its set-up takes minutes), pyops-eager; or none "
                        "(default: those installed, torch-compile only with --net)")
    parser.add_argument("--threads", type=int, metavar="N",
                        help="threads for everyone (default: as pyops info says)")
    parser.add_argument("--json", metavar="FILE",
                        help="write the results; pytest-benchmark compare reads them")
    parser.add_argument("--compare", metavar="FILE", help="print the ratio to an earlier --json, row by row")
    parser.add_argument("--html", metavar="FILE", help="write the report with a roofline as one HTML page")
    parser.add_argument("--quick", action="store_true", help="a rough look: fewer rounds")
    parser.add_argument("--processor-time", action="store_true",
                        help="of ONNX files and --ops: of all threads together, for machines where others compute")


def run(args) -> int:
    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads must be at least 1, got {args.threads}")
    if args.models:
        return onnx_files(args)
    if args.ops is not None:
        return eager_ops(args)
    if args.detection:
        from ..bench import detection_rows
        detection_rows.main([*([] if args.threads is None else ["--threads", str(args.threads)]),
                             *(["--quick"] if args.quick else [])])
        return 0
    if args.detectors is not None:
        from ..bench import detector_suite
        try:
            return detector_suite.run(args.detectors, args.threads, args.quick)
        except ValueError as error:
            raise UsageError(str(error)) from None
    absent = [p for p in ("rich", "pytest_benchmark", *(["matplotlib"] if args.html else []))
              if find_spec(p) is None]
    if absent:
        raise UsageError(f"pyops bench needs {', '.join(absent)}: pip install 'pyops-kernels[bench]'")
    from rich.console import Console

    from ..bench import report, results
    from ..bench.network_suite import GROUP as NETWORKS
    settings, old = prepare(args)
    console = Console()
    console = Console(width=max(console.width, WIDTH))
    rows = []
    for row in measured(args, settings, console):
        rows.append(row)
        if row.group == NETWORKS:   # a run takes an hour: what is measured is shown and kept at once
            console.print(report.network_line(row), highlight=False)
            if args.json:
                results.write(args.json, rows, settings)
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
    """Settings and the old results, with everything the user named checked before
    anything is measured."""
    from ..bench import recurrent_suite, results, suite
    from ..bench.network_suite import ALLOWED
    from ..core.backends import get_backend
    from ..core.threads import get_num_threads
    from ..machine import ceilings
    if args.op:
        known(args.op, sorted(suite.names_of_ops()), "op")
    if args.group:
        known(args.group, suite.GROUPS, "group")
    networks_of(args.net)
    if args.rnn and not recurrent_suite.shapes(args.rnn):
        raise UsageError(f"--rnn: no shape has {args.rnn!r} in its name; they are "
                         f"{', '.join(s.name for s in recurrent_suite.shapes())}")
    chosen, batches = peers_of(args.peers, bool(args.net)), batches_of(args.batch,
                                                                       (1, 8) if args.net else (1,))
    precisions = tuple(known(name.strip(), ALLOWED, "precision") for name in args.precision.split(","))
    try:
        old = results.read_old(args.compare) if args.compare else None
    except ValueError as error:
        raise UsageError(str(error)) from error
    load = os.getloadavg()[0]
    threads, backend = args.threads or get_num_threads(), get_backend()
    roofs = ceilings(backend.name, "f32", threads, 0.05 if args.quick else 0.2) if backend.sets else None
    seconds, block = (0.2, 0.05) if args.quick else (1.5, 0.3)
    return suite.Settings(threads, chosen, seconds, roofs, load, block, batches, precisions,
                          bool(args.group)), old


def networks_of(names: str | None) -> tuple[str, ...]:
    from ..bench.shapes import GENERATIVE, MEASURED, NETWORKS, SEGMENTATION, SHORT, ZOO
    lists = {None: SHORT, "all": MEASURED, "zoo": tuple(ZOO), "segmentation": tuple(SEGMENTATION),
             "generative": tuple(GENERATIVE)}
    if names in lists:
        return lists[names]
    return tuple(known(name.strip(), NETWORKS, "network") for name in names.split(","))


def batches_of(sizes: str | None, default: tuple[int, ...]) -> tuple[int, ...]:
    if sizes is None:
        return default
    if not all(size.strip().isdigit() and int(size) for size in sizes.split(",")):
        raise UsageError(f"--batch takes sizes such as 1,8, got {sizes!r}")
    return tuple(int(size) for size in sizes.split(","))


def peers_of(names: str | None, networks: bool) -> tuple[str, ...]:
    """Those named, or all that are installed. torch-compile only where networks are
    what is asked for."""
    from ..bench.runners import RUNNERS
    from ..bench.suite import OURS
    if names is None:
        return tuple(p for p, runner in RUNNERS.items() if runner.peer and not runner.missing
                     and (networks or p != "torch-compile"))
    choices = [p for p in RUNNERS if p != OURS]
    chosen = tuple(known(name.strip(), choices, "peer")
                   for name in names.split(",") if name.strip() != "none")
    for peer in chosen:
        if RUNNERS[peer].missing:
            raise UsageError(
                f"peer {peer} needs {', '.join(RUNNERS[peer].missing)}: pip install 'pyops-kernels[bench]'")
    return chosen


def measured(args, settings, console):
    """Every row that was asked for, one after the other."""
    from ..bench import recurrent_suite, suite
    from ..bench.network_suite import run_network
    recurrent = recurrent_suite.shapes(args.rnn) if args.rnn is not None else ()
    cases = ([] if (args.net or recurrent) and not (args.group or args.op)
             else suite.select(args.op, args.group))
    networks = networks_of(args.net) if args.net or not (args.op or args.group or recurrent) else ()
    jobs = len(cases) + len(networks) + len(recurrent)
    with console.status("measuring") as status:
        for i, (group, name, case) in enumerate(cases):
            status.update(f"{i + 1} of {jobs}: {name}")
            yield suite.run_case(group, name, case, settings)
        for i, name in enumerate(networks, len(cases)):
            yield from run_network(name, settings, lambda text, i=i, name=name: status.update(
                f"{i + 1} of {jobs}: {name}, {text}"))
        for i, shape in enumerate(recurrent, len(cases) + len(networks)):
            status.update(f"{i + 1} of {jobs}: {shape.name}")
            yield from recurrent_suite.run_shape(shape, settings)


def onnx_files(args) -> int:
    if find_spec("onnx") is None:
        raise UsageError("pyops bench MODEL.onnx needs onnx: pip install onnx")
    from ..bench.onnx_suite import run as compare
    from .run import shapes_of
    for file in args.models:
        try:
            print(compare(file, args.threads, args.quick, shapes_of(args.shape), args.processor_time))
        except (OSError, ValueError) as error:
            raise UsageError(str(error)) from None
    return 0


def eager_ops(args) -> int:
    """1 where a result is not torch's."""
    if find_spec("torch") is None:
        raise UsageError("pyops bench --ops needs torch: pip install torch")
    import torch

    from ..bench import eager_suite
    from ..core.threads import get_num_threads, num_threads
    calls = eager_suite.chosen(args.ops)
    if not calls:
        raise UsageError(f"--ops: no call has {args.ops!r} in its name; they begin with "
                         f"{', '.join(sorted({c.op for c in eager_suite.CALLS}))}")
    threads = args.threads or get_num_threads()
    torch.set_num_threads(threads)
    found, wrong = [], []
    print(eager_suite.HEADER)
    with num_threads(threads):
        for call in calls:
            try:
                for measured in eager_suite.measure_both(call, 0.1 if args.quick else 0.5, args.processor_time):
                    print(measured, flush=True)
                    found.append(measured)
            except AssertionError as why:
                wrong.append(str(why))
    print(*eager_suite.summary(found), *wrong, sep="\n")
    return int(bool(wrong))
