"""A checkout is importable as it lies: kernels/ and bench/ are found beside the package, into which
an installation puts them.

Imported first of all by pyops/__init__.py. Where the extension is missing it says what to do, in
place of the ModuleNotFoundError of some submodule.
"""
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
BESIDE = ("kernels", "bench")


class Beside:
    """Finds pyops.kernels and pyops.bench in the folder that holds pyops/."""

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> ModuleSpec | None:
        package, _, child = name.rpartition(".")
        return PathFinder.find_spec(name, [str(ROOT)]) if package == "pyops" and child in BESIDE else None


def is_checkout() -> bool:
    return (ROOT / "setup.py").is_file() and (ROOT / "kernels" / "__init__.py").is_file()


def missing_extension() -> str:
    """Why pyops._C cannot be imported from this folder, or "" where one for this
    Python lies in it."""
    if any((PACKAGE / f"_C{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        return ""
    version = ".".join(map(str, sys.version_info[:2]))
    built = sorted(p.name for p in PACKAGE.glob("_C.*") if p.suffix in (".so", ".pyd", ".dylib"))
    state = (f"is built for another Python ({', '.join(built)}), this is {version}" if built
             else "is not built")
    command = f"make build PYTHON=python{version} VENV=.venv{version}" if built else "make build"
    return (f"pyops: the checkout {ROOT} {state}; run `{command}` there, or start Python in another folder "
            "if you mean a pyops that is installed")


def prepare() -> None:
    if is_checkout():
        if why := missing_extension():
            raise ImportError(why)
        sys.meta_path.append(Beside)


prepare()
