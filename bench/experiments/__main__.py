from __future__ import annotations

import argparse
import time

from . import NAMES, __doc__ as about, run
from .outcome import quote, record


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.experiments", description=about,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network (default: 3)")
    parser.add_argument("--quick", action="store_true",
                        help="seconds instead of minutes, on fewer images; the numbers mean little")
    parser.add_argument(
        "--out", metavar="DIR",
        help="write the tables to DIR/experiments.md and the curves to DIR/experiments/NAME.png")
    parser.add_argument("--docs", metavar="DIR",
                        help="renew the tables that the Markdown pages under DIR quote")
    parser.add_argument("--data", metavar="DIR",
                        help="MNIST's four IDX files, instead of the digits that scikit-learn carries")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in NAMES]:
        parser.error(f"no experiment is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if args.seeds < 1:
        parser.error(f"--seeds must be positive, got {args.seeds}")
    for name in args.names or NAMES:
        start = time.perf_counter()
        outcome = run(name, args.seeds, args.quick, args.data)
        print(f"\n{name}: {outcome.title}\n\n{outcome.table()}\n\n{outcome.setup} "
              f"({time.perf_counter() - start:.0f} s)", flush=True)
        if args.out:
            more = f"{' --quick' if args.quick else ''}{' --data DIR' if args.data else ''}"
            record(args.out, name, outcome,
                   f"python -m pyops.bench.experiments {name} --seeds {args.seeds}{more}")
        if args.docs:
            print("renewed:", *quote(args.docs, outcome))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
