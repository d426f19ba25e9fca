"""pyops inspect FOLDER --text: what every head of a Transformer looks at while it reads a text."""
from __future__ import annotations

from . import UsageError
from .train import needs

MOST = 64   # tokens of a text that are read
WRITTEN = 24   # tokens that an encoder-decoder writes where none are given


def run(args) -> int:
    needs("matplotlib", "safetensors")
    needs("tokenizers", extra="text")
    from ..models import load_transformer
    from ..text.tokenizer import read_tokenizer
    if args.text is None:
        raise UsageError(f"{args.checkpoint} is a folder: --text must say what the network shall read")
    try:
        model, words = load_transformer(args.checkpoint), read_tokenizer(args.checkpoint)
        for path in draw(model, words, args):
            print(f"wrote {path}")
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    return 0


def draw(model, words, args):
    """A picture for each kind of attention; yields the paths."""
    import numpy as np

    from ..inspect.attention import attention_maps, draw_attention
    source = read(words, args.text, "--text")
    given, queries = [np.array([source])], source
    if hasattr(model, "encode"):   # it writes while it reads
        queries = [model.start, *(model.generate(source, WRITTEN, stop=model.config.eos_token_id)[0]
                                  if args.target_text is None else read(words, args.target_text, "--target-text"))]
        given.append(np.array([queries]))
    elif args.target_text is not None:
        raise UsageError(f"--target-text is for encoder-decoders, not for {type(model).__name__}")
    maps = attention_maps(model, *given)
    names = {id(ids): [words.id_to_token(int(i)) or str(i) for i in ids] for ids in (source, queries)}
    for kind, what, rows, columns in (("self", "of the text to itself", source, source),
                                      ("causal", "of the text to what came before", queries, queries),
                                      ("cross", "of what is written to the source", queries, source)):
        found = [m for m in maps if m.kind == kind]
        if found:
            path = args.out / f"attention-{kind}.png"
            draw_attention(path, found, names[id(rows)], names[id(columns)], title=f"attention {what}")
            yield path


def read(words, text: str, option: str) -> list[int]:
    ids = words.encode(text).ids[:MOST]
    if not ids:
        raise UsageError(f"{option}: the tokenizer finds no token in {text!r}")
    return ids
