"""Peak memory of Transformers: reading a model's files and running it, in a process of its own for each library.

    python -m pyops.bench.sequence_memory [WORK ...] [--engines NAMES] [--small]

WORK: bert (BERT-base, 128 tokens), gpt2 (GPT-2 small, 64 tokens behind a prompt of 64) and t5 (T5-small, 64
tokens to 64, beam 4); all by default. Printed is how much more memory a process needs at most (its resident
set) than one that has only imported the library, in MB, beside the size of the weights' file. pyops and
transformers read the folder, ONNX Runtime and OpenVINO an ONNX file with the same weights (GPT-2's is a step
over a cache, which reads the prompt token by token). "pyops int8" stores weights of linear layers in fewer bits.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .memory import peak

WORKS = ("bert", "gpt2", "t5")
ENGINES = ("pyops", "pyops int8", "transformers", "ONNX Runtime", "OpenVINO")
MODULES = {"transformers": "transformers", "ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}
OF_GRAPHS = ("ONNX Runtime", "OpenVINO")
TOKENS = 64   # of prompts, sources and what is written
SMALL: dict[str, dict[str, Any]] = {
    "bert": dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=300),
    "gpt2": dict(n_embd=64, n_layer=2, n_head=4, vocab_size=500),
    "t5": dict(d_model=64, d_ff=128, num_layers=2, num_heads=4, d_kv=16, vocab_size=500)}


def write(work: str, small: bool, folder: Path) -> None:
    """The model's files."""
    import pyops
    from pyops import models

    from . import bert_onnx, gpt2_onnx
    pyops.manual_seed(0)
    sizes = SMALL[work] if small else {}
    model: Any = {"bert": models.bert_base, "gpt2": models.gpt2, "t5": models.t5_small}[work](**sizes).eval()
    models.save_transformer(model, folder)
    if work != "t5" and (find_spec("onnx")):
        graph = (bert_onnx.trunk_model(model.bert, model.config, False, False) if work == "bert"
                 else gpt2_onnx.step_model(model))
        (folder / "model.onnx").write_bytes(graph)


def measured(work: str, engine: str, folder: Path) -> dict[str, float]:
    """MB beyond those of the library, in this process."""
    if engine in MODULES:
        __import__(MODULES[engine])
    prepare = {"transformers": theirs, "ONNX Runtime": graph, "OpenVINO": graph}.get(engine, ours)
    run = prepare(work, engine)   # what it imports is no model's
    before = peak()
    run(folder)
    return {"MB": peak() - before}


def texts_of(vocabulary: int, count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(3, vocabulary, (1, count))


def ours(work: str, engine: str) -> Callable[[Path], Any]:
    import pyops
    from pyops import models
    from pyops.core.tensor import no_grad
    form: Any = "int8" if engine.endswith("int8") else "float32"

    def run(folder: Path) -> Any:
        model = models.load_transformer(folder)
        with no_grad():
            if work == "bert":
                ids = texts_of(model.config.vocab_size, 128)
                return pyops.compile(model.bert, (ids,), weights=form)(ids)
            return model.generate(texts_of(model.vocabulary, TOKENS), TOKENS, weights=form,
                                  num_beams=4 if work == "t5" else 1)
    return run


def theirs(work: str, engine: str) -> Callable[[Path], Any]:
    from .sequence_models import torch_and_transformers
    torch, transformers = torch_and_transformers()
    kind = {"bert": "BertModel", "gpt2": "GPT2LMHeadModel", "t5": "T5ForConditionalGeneration"}[work]
    make = getattr(transformers, kind)

    def run(folder: Path) -> Any:
        model = make.from_pretrained(folder).eval()
        ids = torch.from_numpy(texts_of(model.config.vocab_size, 128 if work == "bert" else TOKENS))
        with torch.no_grad():
            if work == "bert":
                return model(ids)
            return model.generate(ids, min_new_tokens=TOKENS, max_new_tokens=TOKENS, do_sample=False,
                                  num_beams=4 if work == "t5" else 1)
    return run


def graph(work: str, engine: str) -> Callable[[Path], Any]:
    import pyops

    from . import gpt2_onnx
    make = gpt2_onnx.of_onnxruntime if engine == "ONNX Runtime" else gpt2_onnx.of_openvino

    def run(folder: Path) -> Any:
        step = make(str(folder / "model.onnx"), pyops.get_num_threads())
        config = json.loads((folder / "config.json").read_text())
        if work == "bert":
            return step(texts_of(config["vocab_size"], 128))
        heads = config["n_head"]
        past = np.zeros((config["n_layer"], 2, 1, heads, 0, config["n_embd"] // heads), np.float32)
        prompt, token = texts_of(config["vocab_size"], TOKENS), None
        for i in range(2 * TOKENS):
            scores, past = step(prompt[:, i:i + 1] if i < TOKENS else token, np.array([[i]]), past)
            token = scores[0].argmax(-1)[None]
        return token
    return run


def alone(*arguments: Any) -> dict[str, float]:
    """What this module says in a process of its own, which takes over the peak of the one that starts it:
    that is why files are written in another, too."""
    done = subprocess.run([sys.executable, "-m", "pyops.bench.sequence_memory", *map(str, arguments)],
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)} (default: all)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="those that take part (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="two narrow layers, for a try")
    parser.add_argument("--write", help=argparse.SUPPRESS)   # a folder
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)   # an engine and a folder
    args = parser.parse_args(arguments)
    chosen = args.engines.split(",")
    for given, known in ((args.works, WORKS), (chosen, ENGINES)):
        if unknown := set(given) - set(known):
            parser.error(f"{', '.join(sorted(unknown))} must be of {', '.join(known)}")
    if args.write:
        write(args.works[0], args.small, Path(args.write))
        print("{}")
        return 0
    if args.measure:
        print(json.dumps(measured(args.works[0], args.measure[0], Path(args.measure[1]))))
        return 0
    for work in args.works or WORKS:
        with tempfile.TemporaryDirectory() as folder:
            alone(work, "--write", folder, *(["--small"] if args.small else []))
            weights = (Path(folder) / "model.safetensors").stat().st_size / 1e6
            print(f"\n{work}: {weights:.0f} MB of weights\n{'':<16} {'peak MB':>8} {'of weights':>11}")
            for engine in chosen:
                if engine in MODULES and not find_spec(MODULES[engine]):
                    print(f"{engine:<16} not installed")
                elif engine in OF_GRAPHS and not (Path(folder) / "model.onnx").exists():
                    print(f"{engine:<16} has no file of this")
                else:
                    found = alone(work, "--measure", engine, folder)["MB"]
                    print(f"{engine:<16} {found:8.0f} {found / weights:9.2f} x", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
