"""Many images for pyops inspect: those of a folder, or the digits that scikit-learn carries."""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import UsageError
from .opened import Opened


class Images(NamedTuple):
    """inputs: (N, C, H, W). labels: (N,), or None for a folder without folders of classes. names: of
    the classes, or None."""
    inputs: np.ndarray
    labels: np.ndarray | None
    names: list[str] | None


def images_of(found: Opened, folder: Path | None, most: int, seed: int) -> Images:
    """Up to `most` of them, drawn by seed. UsageError where there are none, or folders are none of the
    classes."""
    rng = np.random.default_rng(seed)
    if folder is None:
        return digits(found, most, rng)
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder of images")
    from ..train.folder import SUFFIXES
    paths = np.array(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()), object)
    if len(paths) < 3:
        raise UsageError(f"{folder}: has {len(paths)} images ({', '.join(sorted(SUFFIXES))}); three are the least")
    paths = paths[np.sort(rng.permutation(len(paths))[:most])]
    inputs = np.stack([found.form.read(path) for path in paths])
    kinds = [path.relative_to(folder).parts[0] if path.parent != folder else None for path in paths]
    if None in kinds:
        return Images(inputs, None, found.names)
    names = found.names or numbered(found, inputs[:1], sorted({p.name for p in folder.iterdir() if p.is_dir()}))
    if unknown := sorted(set(kinds) - set(names)):
        raise UsageError(f"{folder}: folders {', '.join(unknown[:5])} are none of the classes {', '.join(names)}")
    return Images(inputs, np.array([names.index(kind) for kind in kinds]), list(names))


def numbered(found: Opened, one: np.ndarray, folders: list[str]) -> list[str]:
    """Names of classes where a checkpoint has none: the folders', if there is one a class, or else
    numbers, which the folders then must be."""
    from ..inspect.subject import subject
    classes = subject(found.model).look(one, [None])[None].shape[1]
    return folders if len(folders) == classes else [str(c) for c in range(classes)]


def digits(found: Opened, most: int, rng) -> Images:
    if found.form.shape != (1, 32, 32):
        raise UsageError("needs a folder of images to look at")
    from ..train.data import to_input, uci_digits
    from .train import needs
    needs("sklearn")
    data = uci_digits()
    chosen = np.sort(rng.permutation(len(data.test_labels))[:most])
    return Images(to_input(data.test_images[chosen]), data.test_labels[chosen], [str(d) for d in range(10)])
