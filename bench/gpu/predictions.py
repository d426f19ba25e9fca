"""What each row is expected to reach, of its floor, on an H200: judged by reading the kernels, but no more
than the estimate from their machine code (estimates.py) allows. NOT MEASURED; a run confirms or refutes
them."""
from __future__ import annotations

import re

from ..gpu_rows import Row

# pattern of a row's name, precision: (from, to) of the floor, in percent. The first that fits counts.
PREDICTIONS = (
    (r"^linear square", "hopper", (60, 68)), (r"^linear", "hopper", (35, 45)),
    (r"^linear square", "bf16", (40, 50)), (r"^linear", "bf16", (28, 35)),
    (r"^linear", "tf32", (45, 55)), (r"^linear", "f32", (72, 88)),
    (r"^conv .*64x56x56.*channels_last", "hopper", (20, 30)), (r"^conv .*channels_last", "hopper", (45, 55)),
    (r"^conv .*(depthwise).*channels_last", "", (70, 80)), (r"^conv .*depthwise", "f32", (55, 70)),
    (r"^(conv|weight gradient)", "bf16", (12, 18)), (r"^(conv|weight gradient)", "3?x?tf32", (25, 30)),
    (r"^(conv|weight gradient)", "f32", (55, 60)), (r"^attention backward", "bf16", (15, 25)),
    (r"^attention", "bf16", (25, 33)), (r"^attention", "f32", (45, 60)),
    (r"^max_pool", "", (35, 45)), (r"^avg_pool", "", (45, 60)), (r"^batch_norm", "", (75, 85)),
    (r"^softmax .*x16384", "f32", (55, 65)), (r"^softmax backward", "", (70, 85)),
    (r"^softmax", "f32", (60, 70)), (r"^softmax", "bf16", (45, 55)), (r"^layer_norm", "", (85, 90)),
    (r"^(relu|silu|gelu)", "f32", (85, 95)), (r"^(relu|silu|gelu)", "bf16", (75, 92)),
    (r"^adamw", "", (80, 92)), (r"^sum", "", (75, 92)), (r"^cross_entropy", "", (45, 70)),
)


NARROW = 0.85   # of what the estimate allows: from where on, where reading said more than that


def predicted(row: Row, precision: str, best: float | None = None) -> str:
    """"60-68%" of the floor, or "" where nothing was foretold. best: the share that the estimate allows."""
    for name, kind, (low, high) in PREDICTIONS:
        if re.search(name, row.name) and re.fullmatch(kind or ".*", precision):
            if best is not None and 100 * best < high:
                high = int(100 * best)
                low = min(low, int(NARROW * 100 * best))
            return f"{low}-{high}%"
    return ""
