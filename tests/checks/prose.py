"""Prose of README.md, the other top-level pages and docs/ stays within 100 columns.

    python tests/checks/prose.py              names the lines that are wider
    python tests/checks/prose.py --rewrap     fills their paragraphs anew

A table, a heading, a line that is one link or one word, and whatever is in a code block may be
wider.
"""
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIDTH = 100
NOT_YET: set[str] = set()   # pages that are still to be filled: --rewrap fills them, too
ITEM = re.compile(r"(\s*(?:[-*+]|\d+\.)\s+)")


def pages() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def is_free(line: str) -> bool:
    """Whether a line may be of any width, and stands alone: a table's row, a heading, HTML, code by
    indentation, an image."""
    return line.startswith(("|", "#", "<", "    ", "![", "[!")) or not line.strip()


def paragraphs(text: str):
    """(first line's number, lines, whether they are prose) of each piece of a page."""
    piece: list[str] = []
    start, fenced = 1, False
    for number, line in enumerate(text.split("\n"), 1):
        fence = line.lstrip().startswith("```")
        inside_item = bool(piece) and bool(ITEM.match(piece[0])) and line.startswith("  ") and line.strip()
        free = fenced or fence or (is_free(line) and not inside_item)
        if piece and (free or ITEM.match(line)):
            yield start, piece, True
            piece = []
        if free:
            yield number, [line], False
        else:
            start = start if piece else number
            piece.append(line)
        fenced ^= fence
    if piece:
        yield start, piece, True


def filled(lines: list[str]) -> list[str]:
    item = ITEM.match(lines[0])
    first = item[1] if item else re.match(r"\s*", lines[0])[0]
    words = " ".join([lines[0][len(first):], *(line.strip() for line in lines[1:])])
    # an inline code span stays whole: its blanks are no place to break a line
    kept = re.sub(r"`[^`]+`", lambda span: span[0].replace(" ", "\0"), words)
    wrapped = textwrap.wrap(kept, WIDTH, initial_indent=first, subsequent_indent=" " * len(first),
                            break_long_words=False, break_on_hyphens=False)
    # nor may a line begin with what would start a list, a heading or a table
    return [line.replace("\0", " ") for line in wrapped]


def too_wide(path: Path) -> list[tuple[int, int]]:
    """(line, columns) of prose that is wider than it may be and could be broken."""
    return [(start + i, len(line)) for start, lines, prose in paragraphs(path.read_text()) if prose
            for i, line in enumerate(lines) if len(line) > WIDTH
            and max(map(len, filled([line]))) < len(line)]


def rewrap(path: Path) -> None:
    out: list[str] = []
    for _, lines, prose in paragraphs(path.read_text()):
        wide = prose and any(len(line) > WIDTH for line in lines)
        out += filled(lines) if wide else lines
    path.write_text("\n".join(out))


def main() -> int:
    if "--rewrap" in sys.argv:
        for path in pages():
            if too_wide(path):
                rewrap(path)
    wide = [(path, *place) for path in pages() if path.relative_to(ROOT).as_posix() not in NOT_YET
            for place in too_wide(path)]
    for path, line, columns in wide:
        print(f"{path.relative_to(ROOT)}:{line}: {columns} columns of prose; {WIDTH} are the most (--rewrap "
              "fills the paragraph)")
    return bool(wide)


if __name__ == "__main__":
    sys.exit(main())
