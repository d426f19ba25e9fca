"""What takes the room in a wheel, packed, and in its extension.

    python tests/checks/wheel_sizes.py WHEEL    (make wheel-sizes)
"""
import sys
import zipfile
import zlib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
# part: how a file's name ends, or begins behind pyops/
KERNEL_PARTS = {"cases.py": "kernels: cases", "reference.py": "kernels: definitions", ".cu": "kernels: CUDA",
                ".cuh": "kernels: CUDA"}


def part_of(name: str) -> str:
    if name.endswith(".so"):
        return "the extension"
    if ".dist-info/" in name:
        return "metadata"
    folder = name.split("/")[1]
    if folder == "kernels":
        return next((part for end, part in KERNEL_PARTS.items() if name.endswith(end)),
                    "kernels: host side of CUDA")
    return folder if "/" in name.removeprefix("pyops/") else "pyops/*.py"


def objects() -> Counter:
    """Packed size of the code of each instruction set and type, from the objects in
    build/kernels."""
    sizes: Counter = Counter()
    for path in (ROOT / "build" / "kernels").glob("*/*.o"):
        sizes[path.parent.name] += len(zlib.compress(path.read_bytes(), 9))
    return sizes


def main() -> int:
    wheel = Path(sys.argv[1])
    packed, plain = Counter(), Counter()
    for entry in zipfile.ZipFile(wheel).infolist():
        part = part_of(entry.filename)
        packed[part] += entry.compress_size
        plain[part] += entry.file_size
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes\n")
    print(f"{'part':28} {'packed':>10} {'unpacked':>11}   share")
    for part, size in packed.most_common():
        print(f"{part:28} {size:10,} {plain[part]:11,} {100 * size / sum(packed.values()):6.1f} %")
    print(f"\n{'objects of the extension':28} {'packed':>10}   (symbols and relocations with them, so more "
          "than their share above)")
    for name, size in objects().most_common():
        print(f"{name:28} {size:10,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
