"""Tokens a second of a language model that continues a text, with weights and caches of fewer bits, beside
transformers, ONNX Runtime, OpenVINO and CTranslate2, those that are installed.

    python -m pyops.bench.decoding [--context 256,1024] [--steps 8] [--engines NAMES] [--small]

Random weights of GPT-2 small (--small: a network for a try). Each round every engine takes a few
steps, in turn, in one process; medians of the rounds, and of their ratios, are printed. The floor is
what memory bandwidth allows: the bytes of the weights that a step must read, as they are stored, and
of the cache, by the bandwidth of reading a large array, the best of the same rounds. Processor time
is that of the whole process: where others compute, it is the steadier figure.
"""
from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from types import SimpleNamespace

import numpy as np

import pyops
from pyops import models
from pyops.core.backends import get_backend
from pyops.models.sequence.causal import Reading, off_by

# ours: how weights and cache are stored
STORED = {"pyops bf16": ("bf16", "float32"), "pyops int8": ("int8", "float32"), "pyops bf16 cache": ("float32", "bf16"),
          "pyops int8, bf16 cache": ("int8", "bf16")}
BITS = {"float32": 32, "bf16": 16, "int8": 8}
ENGINES = ("pyops", *STORED, "transformers", "CTranslate2", "CTranslate2 int8", "ONNX Runtime",
           "OpenVINO")


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", default="256,1024", help="tokens that are read first, one count or several")
    parser.add_argument("--steps", type=int, default=8, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", help="those that take part, with commas between; each holds weights of its own")
    parser.add_argument("--small", action="store_true", help="two layers of 64 instead of GPT-2 small")
    args = parser.parse_args(arguments)
    args.engines = None if args.engines is None else names(args.engines)
    if unknown := set(args.engines or ()) - set(ENGINES):
        parser.error(f"--engines: {', '.join(sorted(unknown))} must be of {', '.join(ENGINES)}")
    pyops.manual_seed(0)
    settings = dict(n_embd=64, n_layer=2, n_head=4, vocab_size=500, n_positions=2048) if args.small else {}
    model = models.gpt2(**settings).eval()
    for context in map(int, args.context.split(",")):
        prompt = np.random.default_rng(0).integers(0, model.vocabulary, context - args.steps)
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            models.save_transformer(model, folder)
            report(engines_of(model, folder, prompt, stack, args.engines), args, model, context)
    return 0


def names(text: str) -> set[str]:
    """Of engines, with commas between; some have one themselves."""
    found = {name for name in ENGINES if "," in name and name in text}
    for name in found:
        text = text.replace(name, "")
    return found | {name for name in text.split(",") if name}


@dataclass
class Engine:
    """run(steps): seconds, and the processor's. bits: of a weight, and of an entry of the cache. scores: of
    what follows the prompt's likeliest token, where they are to be had."""
    run: Callable[[int], np.ndarray]
    bits: tuple[int, int]
    scores: np.ndarray | None = None


def engines_of(model, folder, prompt, stack, chosen: set[str] | None) -> dict[str, Engine | None]:
    """None for those that are not installed."""
    found: dict[str, Engine | None] = {}
    wanted = None if chosen is None else {"pyops", *chosen}
    past = Reading(model, [prompt], 1, True)
    token = past.scores.argmax(-1)
    found["pyops"] = Engine(ours(past), (32, 32), after(past, token))
    for name, (weights, cache) in STORED.items():
        if wanted is None or name in wanted:
            reading = Reading(model, [prompt], 1, True, weights, cache)
            found[name] = Engine(ours(reading), (BITS[weights], BITS[cache]), after(reading, token))
    peers = (("transformers", of_transformers, 32), ("CTranslate2", of_ctranslate2, 32),
             ("CTranslate2 int8", partial(of_ctranslate2, kind="int8"), 8))
    for name, make, bits in (peer for peer in peers if wanted is None or peer[0] in wanted):
        found[name] = if_installed(name, bits, lambda make=make: make(folder, prompt, stack))
    for name, make in (("ONNX Runtime", "of_onnxruntime"), ("OpenVINO", "of_openvino")):
        if wanted is None or name in wanted:
            found[name] = if_installed(name, 32, lambda make=make: of_graph(make, model, past))
    return found


def if_installed(name: str, bits: int, make) -> Engine | None:
    """None without the library, which is said."""
    try:
        return Engine(make(), (bits, 32))
    except ImportError as why:
        print(f"{name}: {why}")
        return None


def of_graph(make: str, model, past: Reading):
    """Of a runtime of ONNX files: steps from the prompt's past on. Its scores must be ours."""
    from pyops.bench import gpt2_onnx
    step = getattr(gpt2_onnx, make)(gpt2_onnx.step_model(model), pyops.get_num_threads())
    length = int(past.cache.lengths[0])
    entries = np.ascontiguousarray(past.cache.data[..., :length, :])

    def run(steps: int) -> np.ndarray:
        token, here = past.scores.argmax(-1)[:, None], entries
        start = clocks()
        for i in range(steps):
            scores, here = step(token, np.array([[length + i]]), here)
            token = scores[:, -1].argmax(-1)[:, None]
        return clocks() - start
    wanted = past.run("step", past.scores.argmax(-1)[:, None], past.cache.lengths[:, None], past.cache.data)[0]
    if off_by(step(past.scores.argmax(-1)[:, None], np.array([[length]]), entries)[0][:, -1], wanted) > 1e-4:
        raise AssertionError(f"{make}: its scores are not ours")
    return run


def report(given: dict[str, Engine | None], args, model, context: int) -> None:
    engines = {name: engine for name, engine in given.items() if engine is not None}
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    read, speeds = reader(), []
    for _ in range(args.rounds + 1):   # the first warms up
        speeds.append(read())
        for name, engine in engines.items():
            rounds[name].append(tuple(engine.run(args.steps) / args.steps))
    speed = max(speeds)
    print(f"\ncontext {context}, {pyops.get_num_threads()} threads; reading {speed / 1e9:.1f} GB/s")
    print(f"{'':<23} tokens/s       ms   floor ms  of the floor   over pyops' f32   processor ms   scores off by")
    weights, cache = bytes_read(model, context)
    wanted = engines["pyops"].scores
    for name, engine in engines.items():
        own, processor = (median(of) for of in zip(*rounds[name][1:]))
        ratio = median(a / b for (a, _), (b, _) in zip(rounds["pyops"][1:], rounds[name][1:]))
        floor = (weights * engine.bits[0] + cache * engine.bits[1]) / 32 / speed
        off = "" if engine.scores is None else f"{off_by(engine.scores, wanted):.1e}"
        print(f"{name:<23} {1 / own:8.1f} {own * 1e3:8.2f}   {floor * 1e3:8.2f}  {floor / own:12.2f}   "
              f"{ratio:14.2f} x   {processor * 1e3:12.2f}   {off:>13}")
    for name in given.keys() - engines.keys():
        print(f"{name:<23} not installed")


def bytes_read(model, context: int) -> tuple[int, int]:
    """What a step reads of float32 weights, and of a cache of so many entries."""
    weights = sum(p.data.nbytes for p in model.parameters()) - model.transformer.wpe.weight.data.nbytes
    layers, heads, features = model.cache_shape
    return weights, 2 * 4 * layers * heads * features * context


def clocks() -> np.ndarray:
    """Seconds of the wall's clock and of the processor's time that the process took."""
    return np.array([time.perf_counter(), time.process_time()])


def reader(size: int = 1 << 28):
    """A function that reads a large array once with all threads and returns bytes a second."""
    kernels = get_backend(None).sets["f32"]
    array, sums = np.ones(size // 4, np.float32), np.empty(pyops.get_num_threads(), np.float32)

    def read() -> float:
        start = time.perf_counter()
        kernels.machine_read(array, 1, sums)
        return size / (time.perf_counter() - start)
    return read


def after(reading: Reading, token: np.ndarray) -> np.ndarray:
    """The scores behind one more token, which is forgotten again."""
    before, lengths = reading.scores, reading.cache.lengths.copy()
    reading.read(token)
    found, reading.scores = reading.scores, before
    reading.cache.lengths[:] = lengths
    return found


def ours(reading: Reading) -> Callable[[int], np.ndarray]:
    lengths = reading.cache.lengths.copy()

    def run(steps: int) -> np.ndarray:
        start = clocks()
        for _ in range(steps):
            reading.read(reading.scores.argmax(-1))
        seconds = clocks() - start
        # every round at the same context: what was appended is forgotten
        reading.cache.lengths[:] = lengths
        return seconds
    return run


def of_transformers(folder, prompt, _):
    import torch
    with contextlib.suppress(ImportError):
        from pyops.bench import torchvision_schemas  # noqa: F401
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(pyops.get_num_threads())
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        first = model(torch.tensor(prompt[None]), use_cache=True)

    def run(steps: int) -> np.ndarray:
        with torch.no_grad():
            cache, scores = first.past_key_values, first.logits
            start = clocks()
            for _ in range(steps):
                found = model(scores[:, -1:].argmax(-1), past_key_values=cache, use_cache=True)
                cache, scores = found.past_key_values, found.logits
            seconds = clocks() - start
            cache.crop(-steps)
        return seconds
    return run


def of_ctranslate2(folder, prompt, stack, kind: str = "float32"):
    import ctranslate2
    import transformers
    from ctranslate2.converters.transformers import GPT2Loader
    loader, theirs = GPT2Loader(), transformers.GPT2LMHeadModel.from_pretrained(folder)
    spec, words = loader.get_model_spec(theirs), [str(i) for i in range(theirs.config.vocab_size)]
    loader.set_vocabulary(spec, words)
    loader.set_config(spec.config, theirs, SimpleNamespace(bos_token="0", eos_token="1", unk_token="2"))
    spec.validate()
    spec.optimize()
    place = stack.enter_context(tempfile.TemporaryDirectory())
    spec.save(place)
    del spec, theirs
    generator = ctranslate2.Generator(place, device="cpu", compute_type=kind,
                                      intra_threads=pyops.get_num_threads(), inter_threads=1)
    text = [words[i] for i in prompt]

    def whole(steps: int) -> np.ndarray:
        start = clocks()
        generator.generate_batch([text], max_length=steps, min_length=steps, include_prompt_in_result=False)
        return clocks() - start
    # its cache is not to be had: what more steps take beyond one
    return lambda steps: whole(steps + 1) - whole(1)


if __name__ == "__main__":
    raise SystemExit(main())
