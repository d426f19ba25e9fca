"""Whole detectors from image to boxes, and training steps, beside their peers: what `pyops bench --detectors` runs,
each in a process of its own, so that one's weights are gone before the next.

    pyops bench --detectors --quick --threads 2
    pyops bench --detectors yolov3,ssd300
"""
from __future__ import annotations

import subprocess
import sys

PLAN = (("detectors", "yolov3:416"), ("detectors", "yolov3:416", "--batch", "8"),
        ("detectors", "yolov4:416"), ("detectors", "yolov4:416", "--batch", "8"),
        ("detectors_torchvision", "ssd300_vgg16"), ("detectors_torchvision", "ssd300_vgg16", "--batch", "8"),
        ("detectors", "yolov5s:640"), ("detectors", "yolov6s:640"),
        ("detectors_torchvision", "retinanet_resnet50_fpn"), ("detectors_torchvision", "fasterrcnn_resnet50_fpn"),
        ("detection_step", "fasterrcnn_resnet50_fpn"), ("detection_step", "yolov3_tiny"))


def chosen(words: str) -> list[tuple[str, ...]]:
    """The measurements one of whose arguments holds one of the words, comma-separated; all without words. ValueError
    for a word that none holds."""
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted:
        if not any(word in part for plan in PLAN for part in plan):
            names = ", ".join(dict.fromkeys(plan[1].partition(":")[0] for plan in PLAN))
            raise ValueError(f"--detectors: nothing is called {word!r}; there are {names}")
    return [plan for plan in PLAN if not wanted or any(word in part for word in wanted for part in plan)]


def command(plan: tuple[str, ...], threads: int | None, quick: bool) -> list[str]:
    module, *arguments = plan
    return [sys.executable, "-m", f"pyops.bench.{module}", *arguments,
            *(["--threads", str(threads)] if threads else []), *(["--quick"] if quick else [])]


def run(words: str = "", threads: int | None = None, quick: bool = False) -> int:
    """1 where a measurement failed; the others are made all the same."""
    failed = 0
    for plan in chosen(words):
        failed |= subprocess.run(command(plan, threads, quick), check=False).returncode != 0
    return int(failed)
