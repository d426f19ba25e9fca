"""What must be known of a .cu file's text before it is compiled: its kernels, and its
dynamic shared memory."""
from __future__ import annotations

import re

_COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"', re.S)
_DYNAMIC = re.compile(
    r"extern\s+__shared__\s+((?:__align__\s*\(\s*\d+\s*\)|alignas\s*\(\s*\d+\s*\)|volatile)\s+)?"
    r"(.+?)(?<=[\s*>])(\w+)\s*\[\s*\]\s*;")
_ATTRIBUTES = ("__launch_bounds__", "__cluster_dims__", "__attribute__", "__maxnreg__")


def _closing(text, at):
    """The position after the parenthesis that closes the one at `at`."""
    depth = 0
    while True:
        depth += (text[at] == "(") - (text[at] == ")")
        at += 1
        if depth == 0:
            return at


def kernels_of(text: str) -> list[str]:
    """Names of the __global__ functions that are no templates, in order."""
    text = _COMMENT.sub(lambda m: m.group(0) if m.group(0)[0] == '"' else " " * len(m.group(0)), text)
    names = []
    for match in re.finditer("__global__", text):
        if re.search(r"template\s*<[^;{}]*>\s*(?:static\s+|inline\s+)*$",
                     text[max(0, match.start() - 200):match.start()]):
            continue
        at = match.end()
        while word := re.compile(r"\s*(\w+)\s*").match(text, at):
            at = word.end()
            if word.group(1) in _ATTRIBUTES:
                at = _closing(text, at)
            elif at < len(text) and text[at] == "(":
                names.append(word.group(1))
                break
    return list(dict.fromkeys(names))


def with_dynamic_shared(text: str) -> str:
    """`extern __shared__ T x[];` as a pointer to the emulator's block of shared memory; lines
    stay where they are."""
    return _DYNAMIC.sub(lambda m: f"{m[2]} *{m[3]} = reinterpret_cast<{m[2]} *>(cuemu_dyn_smem());", text)
