"""clang-format over the C++ and CUDA files that follow .clang-format, and the width of all of them.

    python tests/checks/cpp_format.py            the files of cpp_formatted.txt must be as clang-format has them, and no
                                                 line is over 120 columns but for
                                                 macros and tables (*.inc)
    python tests/checks/cpp_format.py --adopt    adds to the list what passes and is not in it
"""
import difflib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("cpp_formatted.txt")
WIDTH = 120
CLANG_FORMAT = str(Path(sys.executable).with_name("clang-format"))


def plain(line: str) -> str:
    """The line with one space for every run of them behind its indentation: what stands in
    columns stays in columns."""
    indent = len(line) - len(line.lstrip())
    return line[:indent] + re.sub(r"\s+", " ", line[indent:])


def changes(path: str) -> list[str]:
    """What clang-format would change in a file, as a diff."""
    text = (ROOT / path).read_text()
    done = subprocess.run([CLANG_FORMAT, path], cwd=ROOT, capture_output=True, text=True, check=True)
    ours, theirs = ([plain(line) for line in t.split("\n")] for t in (text, done.stdout))
    return list(difflib.unified_diff(ours, theirs, path, f"{path} formatted", lineterm="", n=0))


def too_wide(path: str) -> list[tuple[int, int]]:
    """(line, columns) of what is wider than WIDTH outside of preprocessor directives."""
    found, directive = [], False
    for number, line in enumerate((ROOT / path).read_text().split("\n"), 1):
        directive = directive or line.lstrip().startswith("#")
        if len(line) > WIDTH and not directive:
            found.append((number, len(line)))
        directive = directive and line.endswith("\\")
    return found


def main() -> int:
    listed = LIST.read_text().split()
    tracked = subprocess.run(["git", "ls-files", "*.cpp", "*.h", "*.cu", "*.cuh"], cwd=ROOT,
                             capture_output=True, text=True, check=True)
    files = tracked.stdout.split() if "--adopt" in sys.argv else [f for f in listed if (ROOT / f).exists()]
    with ThreadPoolExecutor() as pool:
        found = dict(zip(files, pool.map(changes, files)))
    if "--adopt" in sys.argv:
        LIST.write_text("".join(f"{f}\n" for f in sorted(f for f, diff in found.items() if not diff)))
        return 0
    for diff in found.values():
        print("\n".join(diff), end="\n" if diff else "")
    wide = [(path, *place) for path in tracked.stdout.split() for place in too_wide(path)]
    for path, line, columns in wide:
        print(f"{path}:{line}: {columns} columns; {WIDTH} are the most")
    return bool(wide) or any(found.values())


if __name__ == "__main__":
    sys.exit(main())
