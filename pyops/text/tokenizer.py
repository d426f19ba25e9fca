"""tokenizer.json, as Hugging Face's folders have it: WordPiece, byte-level BPE, Unigram."""
from __future__ import annotations

from pathlib import Path
from typing import Any


def read_tokenizer(path) -> Any:
    """The tokenizers.Tokenizer of a tokenizer.json, or of the folder that holds one: encode(text).ids
    and decode(ids). ImportError without the package tokenizers; FileNotFoundError; ValueError for a
    file that is none."""
    from tokenizers import Tokenizer
    path = Path(path)
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return Tokenizer.from_str(path.read_text("utf-8"))
    except Exception as why:   # the package raises Exception itself
        raise ValueError(f"{path}: no tokenizer, or damaged: {why}") from why
    except BaseException as why:
        if type(why).__name__ != "PanicException":   # of its Rust, which is no Exception
            raise
        raise ValueError(f"{path}: no tokenizer, or damaged: {why}") from why
