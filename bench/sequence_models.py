"""BERT, GPT-2's prompt and T5 beside ONNX Runtime, OpenVINO, transformers and CTranslate2, those that are installed.

    python -m pyops.bench.sequence_models [WORK ...] [--engines NAMES] [--rounds 10] [--small]

WORK: bert-128x1, bert-128x8, bert-512x1, ragged (8 texts of 16 to 256 tokens; the others pad them),
prefill (512 tokens of GPT-2 small, to the next one's scores and the cache) and t5 (T5-small, 64 tokens
to 64, beam 4); all by default. Random weights, float32, one process: every round each engine runs once,
in turn; medians of the rounds, and of the ratios to ours, are printed. Results must be ours to 1e-3 of the
largest. "ONNX Runtime fused" has the operators that its optimiser for Transformers makes. torch.compile
takes minutes to start, so it takes part where it is named. Processor time is that of the whole process:
where others compute, it is the steadier figure.
"""
from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import pyops
from pyops import models
from pyops.core.tensor import no_grad
from pyops.models.sequence.causal import off_by

from . import bert_onnx, gpt2_onnx
from .decoding import clocks

WORKS = ("bert-128x1", "bert-128x8", "bert-512x1", "ragged", "prefill", "t5")
ENGINES = ("pyops", "transformers", "torch.compile", "ONNX Runtime", "ONNX Runtime fused", "OpenVINO", "CTranslate2")


class Work(NamedTuple):
    """ours() and each of peers, made when asked for, give the result; peers' as an array like ours, or None
    where it is another."""
    ours: Callable[[], np.ndarray]
    peers: dict[str, Callable[[], Callable[[], Any]]]


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)} (default: all)")
    parser.add_argument("--engines", help="those that take part, with commas between (default: all but torch.compile)")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--small", action="store_true", help="two narrow layers, for a try")
    args = parser.parse_args(arguments)
    chosen = [e for e in ENGINES if e != "torch.compile"] if args.engines is None else args.engines.split(",")
    for given, known in ((args.works, WORKS), (chosen, ENGINES)):
        if unknown := set(given) - set(known):
            parser.error(f"{', '.join(sorted(unknown))} must be of {', '.join(known)}")
    for name in args.works or WORKS:
        pyops.manual_seed(0)
        with contextlib.ExitStack() as stack:
            report(name, work_of(name, args.small, stack), chosen, args.rounds)
    return 0


def work_of(name: str, small: bool, stack: contextlib.ExitStack) -> Work:
    if name == "t5":
        return t5(small, stack)
    if name == "prefill":
        return prefill(small, stack)
    return bert(name, small, stack)


def report(name: str, work: Work, chosen: list[str], rounds: int) -> None:
    runs: dict[str, Callable[[], Any]] = {"pyops": work.ours}
    wanted, missing = work.ours(), []
    for engine in work.peers:
        if engine not in chosen:
            continue
        try:
            run = work.peers[engine]()
            found = run()
        except ImportError as why:
            missing.append(f"{engine}: {why}")
            continue
        if found is not None and (off := off_by(found, wanted)) > 1e-3:
            raise AssertionError(f"{name}: {engine}'s result is off by {off:.1e}")
        runs[engine] = run
    times: dict[str, list[np.ndarray]] = {engine: [] for engine in runs}
    for _ in range(rounds):
        for engine, run in runs.items():
            start = clocks()
            run()
            times[engine].append(clocks() - start)
    print(f"\n{name}, {pyops.get_num_threads()} threads\n{'':<20} {'ms':>9} {'over pyops':>12} {'processor ms':>14} "
          f"{'over pyops':>12}")
    for engine, own in times.items():
        wall, processor = (median(of) for of in zip(*own))
        ratios = [median(a[i] / b[i] for a, b in zip(own, times["pyops"])) for i in (0, 1)]
        print(f"{engine:<20} {wall * 1e3:9.1f} {ratios[0]:10.2f} x {processor * 1e3:14.1f} {ratios[1]:10.2f} x")
    for line in missing:
        print(line)


# ---- BERT

def bert(name: str, small: bool, stack) -> Work:
    sizes = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
                 vocab_size=300) if small else {}
    model: Any = models.bert_base(**sizes).eval()
    trunk, c, rng = model.bert, model.config, np.random.default_rng(0)
    trunk.pooler = None
    if name == "ragged":
        lengths = np.linspace(16, 256, 8).astype(int)
    else:
        length, _, count = name.removeprefix("bert-").partition("x")
        lengths = np.full(int(count), int(length))
    texts = [rng.integers(0, c.vocab_size, n) for n in lengths]
    ids, mask = np.zeros((len(texts), lengths.max()), np.int64), np.zeros((len(texts), lengths.max()), np.int32)
    for row, text in enumerate(texts):
        ids[row, :len(text)], mask[row, :len(text)] = text, 1
    masked, at = not mask.all(), mask.astype(bool)
    given = (ids, mask) if masked else (ids,)

    def graph(make: str, fused: bool):
        step = getattr(gpt2_onnx, make)(bert_onnx.trunk_model(trunk, c, fused, masked), pyops.get_num_threads())
        return lambda: step(*given)[0][at]
    peers = {"transformers": lambda: bert_of_torch(trunk, c, given, at, False),
             "torch.compile": lambda: bert_of_torch(trunk, c, given, at, True),
             "ONNX Runtime": lambda: graph("of_onnxruntime", False),
             "ONNX Runtime fused": lambda: graph("of_onnxruntime", True),
             "OpenVINO": lambda: graph("of_openvino", False),
             "CTranslate2": lambda: bert_of_ctranslate2(trunk, c, texts, at, stack)}
    return Work(bert_of_ours(trunk, c, texts) if masked else program_of(trunk, ids, at), peers)


def program_of(trunk, ids, at):
    program: Any = pyops.compile(trunk, (ids,))
    return lambda: program(ids)[at]


def bert_of_ours(trunk, config, texts):
    """By a model whose head gives the vectors themselves."""
    from pyops.models.sequence.bert import BertModel

    class Vectors(BertModel):
        def __init__(self):
            self.config, self.bert = config, trunk

        def head(self, x, first):
            return x
    model = Vectors().eval()
    return lambda: np.concatenate(model.ragged(texts))


def torch_and_transformers():
    import torch
    with contextlib.suppress(ImportError):
        from pyops.bench import torchvision_schemas  # noqa: F401
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(pyops.get_num_threads())
    return torch, transformers


def theirs_of(trunk, config, pooler: bool):
    """transformers' BertModel with the same weights; a pooler has some."""
    torch, transformers = torch_and_transformers()
    model = transformers.BertModel(transformers.BertConfig(**config.to_json()), add_pooling_layer=pooler).eval()
    model.load_state_dict({k: torch.from_numpy(np.asarray(v)) for k, v in trunk.state_dict().items()}, strict=False)
    return torch, model


def bert_of_torch(trunk, config, given, at, compiled: bool):
    torch, model = theirs_of(trunk, config, False)
    model = torch.compile(model) if compiled else model
    tensors = dict(zip(("input_ids", "attention_mask"), map(torch.from_numpy, given)))

    def run():
        with torch.no_grad():
            return model(**tensors).last_hidden_state.numpy()[at]
    return run


def bert_of_ctranslate2(trunk, config, texts, at, stack):
    import ctranslate2
    from ctranslate2.converters.transformers import BertLoader
    _, theirs = theirs_of(trunk, config, True)
    theirs.config.position_embedding_type = "absolute"   # which newer ones do not say
    loader = BertLoader()
    spec, words = loader.get_model_spec(theirs), [str(i) for i in range(config.vocab_size)]
    loader.set_vocabulary(spec, words)
    loader.set_config(spec.config, theirs, SimpleNamespace(unk_token="2"))
    encoder = ctranslate2.Encoder(saved(spec, stack), device="cpu", compute_type="float32",
                                  intra_threads=pyops.get_num_threads(), inter_threads=1)
    rows = [text.tolist() for text in texts]
    return lambda: np.array(encoder.forward_batch(rows).last_hidden_state)[at]


def saved(spec, stack) -> str:
    spec.validate()
    spec.optimize()
    place: str = stack.enter_context(tempfile.TemporaryDirectory())
    spec.save(place)
    return place


# ---- GPT-2's prompt

def prefill(small: bool, stack) -> Work:
    from pyops.models.sequence.programs import Programs
    sizes = dict(n_embd=64, n_layer=2, n_head=4, vocab_size=500) if small else {}
    model: Any = models.gpt2(**sizes).eval()
    ids = np.random.default_rng(0).integers(0, model.vocabulary, (1, 512))
    places, programs = np.arange(512)[None], Programs.of(model)

    def ours():
        return programs.prefill(ids, places)[0]

    def graph(make: str):
        run = getattr(gpt2_onnx, make)(gpt2_onnx.prefill_model(model), pyops.get_num_threads())
        return lambda: run(ids)[0]

    def theirs():
        torch, transformers = torch_and_transformers()
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        models.save_transformer(model, folder)
        other = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()

        def run():
            with torch.no_grad():
                return other(torch.from_numpy(ids), use_cache=True, logits_to_keep=1).logits[:, -1].numpy()
        return run
    return Work(ours, {"transformers": theirs, "ONNX Runtime": lambda: graph("of_onnxruntime"),
                       "OpenVINO": lambda: graph("of_openvino")})


# ---- T5

def t5(small: bool, stack) -> Work:
    sizes = dict(d_model=64, d_ff=128, num_layers=2, num_heads=4, d_kv=16, vocab_size=500) if small else {}
    model: Any = models.t5_small(**sizes).eval()
    ids = np.random.default_rng(0).integers(3, model.vocabulary, 64)
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    models.save_transformer(model, folder)

    def ours():
        with no_grad():
            return np.array(model.generate(ids, 64, num_beams=4))

    def theirs():
        torch, transformers = torch_and_transformers()
        other = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()

        def run():
            with torch.no_grad():
                other.generate(torch.from_numpy(ids[None]), num_beams=4, min_new_tokens=64, max_new_tokens=64)
        return run

    def ctranslate2():
        import ctranslate2
        from ctranslate2.converters.transformers import T5Loader
        _, transformers = torch_and_transformers()
        other, loader = transformers.T5ForConditionalGeneration.from_pretrained(folder), T5Loader()
        spec, words = loader.get_model_spec(other), [str(i) for i in range(model.vocabulary)]
        loader.set_vocabulary(spec, words)
        tokens = SimpleNamespace(pad_token="0", eos_token="1", unk_token="2", convert_ids_to_tokens=str)
        loader.set_config(spec.config, other, tokens)
        translator = ctranslate2.Translator(saved(spec, stack), device="cpu", compute_type="float32",
                                            intra_threads=pyops.get_num_threads(), inter_threads=1)
        text = [words[i] for i in ids]

        def run():
            translator.translate_batch([text], beam_size=4, min_decoding_length=64, max_decoding_length=64)
        return run
    return Work(ours, {"transformers": theirs, "CTranslate2": ctranslate2})


if __name__ == "__main__":
    raise SystemExit(main())
