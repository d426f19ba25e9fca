"""What a result was measured on."""
from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "cupy-cuda13x", "torch", "ml_dtypes", "cuda-bindings", "cuda-pathfinder", "nvidia-cuda-nvrtc",
            "nvidia-cuda-runtime", "nvidia-cuda-cccl", "triton")


def machine() -> dict:
    """Names and versions; asks nothing of the device, so that this line is there whatever happens."""
    return {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count(),
            "date": str(date.today()), "commit": commit(),
            **{name: found for name in PACKAGES if (found := installed(name))},
            **{name: os.environ[name] for name in ("CUDA_PATH", "CUDA_HOME", "PYOPS_CACHE") if name in os.environ}}


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """PYOPS_COMMIT, or what git says of the checkout; "unknown" where there is neither."""
    if named := os.environ.get("PYOPS_COMMIT"):
        return named
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                              cwd=Path(__file__).parent)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
