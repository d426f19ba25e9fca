"""The commands of python -m pyops.bench.gpu."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import __doc__ as described


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="pyops.bench.gpu", description=described,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="all stages, or some")
    run.add_argument("--out", type=Path, required=True, help="a folder: results.jsonl and a log a process")
    run.add_argument("--seconds", type=float, default=250)
    run.add_argument("--stages", help="names with commas between; default: all")
    run.add_argument("--few", action="store_true", help="--small, and a case or two of every stage")
    run.add_argument("--patience", type=float, default=1, help="so many times a case's own limit")
    run.add_argument("--parts", type=int, default=8, help="at most so many processes of a stage side by side")
    stage = commands.add_parser("stage", help="one, in this process")
    stage.add_argument("name")
    stage.add_argument("--out", type=Path, help="a line a result is added to it; default: standard output")
    stage.add_argument("--part", default="0/1", help="i/n: every n-th case from the i-th on")
    stage.add_argument("--first", type=int, default=0, help="of the part's cases, those from this one on")
    stage.add_argument("--wait", action="store_true", help="for a line of standard input, all imports done")
    for command in (run, stage):
        command.add_argument("--every", type=int, default=1, help="every so-manieth case only")
        command.add_argument("--match", default="", help="a regular expression: cases in whose name it is found")
        command.add_argument("--small", action="store_true", help="rows of small sizes: a dry run")
    told = commands.add_parser("report", help="what a run says; without a folder what is expected of one")
    told.add_argument("folder", type=Path, nargs="?")
    expected = commands.add_parser("estimates", help="times computed from machine code, shapes and an H200's limits")
    expected.add_argument("--match", default="", help="a regular expression: rows in whose name and type it is found")
    expected.add_argument("--write", action="store_true", help="keep them, for machines without NVRTC")
    host = commands.add_parser("packing", help="the host's time for a launch's arguments")
    host.add_argument("--rounds", type=int, default=30)
    packed = commands.add_parser("bundle", help="see `make gpu-bundle`")
    packed.add_argument("file", type=Path, help="a .tar.xz")
    packed.add_argument("--wheel", type=Path, required=True)
    packed.add_argument("--match", default="", help="a regular expression: machine code of some forms")
    packed.add_argument("--every", action="store_true", help="float16's machine code as well")
    packed.add_argument("--cache", type=Path, required=True, help="the folder of budget --sm90 --cache")
    args = parser.parse_args(arguments)
    if args.command == "run":
        from .driver import run as command
        from .stages import FEW
        return command(args.out, args.seconds, args.stages.split(",") if args.stages else None, args.every,
                       args.match or FEW * args.few, args.small or args.few, args.parts, args.patience)
    if args.command == "stage":
        from .worker import work
        part, parts = map(int, args.part.split("/"))
        return work(args.name, args.out, part, parts, args.first, args.every, args.match, args.small,
                    args.wait)
    if args.command == "report":
        from .report import report
        print(report(args.folder))
        return 0
    if args.command == "packing":
        from .packing import text
        print(text(args.rounds))
        return 0
    if args.command == "estimates":
        return estimates(args.match, args.write)
    from ...cuda.budget import launched_on_hopper
    from .bundle import bundle
    return bundle(args.file, args.wheel, args.cache, launched_on_hopper(args.match, args.every))


def estimates(match: str, write: bool) -> int:
    from ...cuda import machine_code, nvrtc
    from .estimates import text, write as keep
    if why := nvrtc.missing() or machine_code.missing():
        print(why, file=sys.stderr)
        return 2
    if write:
        keep()
    else:
        print(text(match), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
