"""A training step of an encoder-decoder beside torch: python -m pyops.bench.translator_step
[--batch 32 --length 64 --width 256 --layers 6 --vocabulary 8000 --dropout 0.1 --repeats N --compiled --profile]

The network of 2017 (models.Translator; torch.nn.Transformer with the same embeddings, sines and tied
scores), a label-smoothed cross-entropy, backward and a step of Adam, float32, the same weights and
tokens. Losses and gradients are compared first, without dropout. Both libraries take turns; the table
gives the shortest and the median step of each. --compiled: torch.compile's step instead of torch
eager's. --profile adds our time by op, from a step in which each call is timed, and what the matrix
products of the step take at the speed of one large product.
"""
from __future__ import annotations

import argparse
import time

import numpy as np

import pyops
from pyops import functional as F, models
from pyops.optim import Adam

from .measure import beside_torch
from .training_step import profile

SMOOTHING, RATE = 0.1, 1e-4


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.translator_step", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("batch", 32), ("length", 64), ("width", 256), ("layers", 6), ("vocabulary", 8000),
                        ("repeats", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--threads", type=int, help="of both")
    parser.add_argument("--processor-time", action="store_true", help="of the process, where others compute")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args(arguments)
    if args.threads is not None:
        pyops.set_num_threads(args.threads)
    pyops.manual_seed(0)
    rng = np.random.default_rng(0)
    source, target = (rng.integers(0, args.vocabulary, (args.batch, args.length)) for _ in range(2))
    model = models.Translator(args.vocabulary, args.width, args.width // 32, args.layers, 4 * args.width, 0.0,
                              most_positions=args.length)
    step, other, reference = ours(model, source, target), *theirs(model, args, source, target)
    losses, apart = (step(update=False), other(update=False)), difference(model, reference)
    print(f"{args.layers} and {args.layers} layers {args.width} wide, {args.batch} pairs of {args.length} tokens of "
          f"{args.vocabulary}, {pyops.get_num_threads()} threads; without dropout losses {losses[0]:.5f} and "
          f"{losses[1]:.5f}, gradients differ by {apart:.1e} of their norm; timed with dropout {args.dropout}")
    set_dropout(model, reference, args.dropout)
    if args.compiled:
        other = theirs(model, args, source, target, reference)[0]
    step(), other()
    clock = time.process_time if args.processor_time else time.perf_counter
    print(*beside_torch(step, other, args.repeats, clock), sep="\n")
    if args.profile:
        for name, ms, calls in profile(step, clock):
            print(f"{name:28} {ms:8.2f} ms  {calls:4} calls")
        print(f"{'products at their peak':28} {products(args, clock):8.2f} ms")
    return 0


def ours(model, source, target):
    """step(): the loss of one step."""
    optimizer = Adam(model.parameters(), RATE)

    def step(update: bool = True):
        optimizer.zero_grad()
        loss = model.loss(source, target, label_smoothing=SMOOTHING)
        loss.backward()
        if update:
            optimizer.step()
        return loss.item()
    return step


def theirs(model, args, source, target, module=None):
    """The same of torch, and its module; a module that is given is compiled."""
    import torch
    torch.set_num_threads(pyops.get_num_threads())
    compiled = module is not None
    module = module or peer(model, args)
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), RATE)
    begun = np.concatenate([np.full((len(target), 1), model.start), target[:, :-1]], 1)
    given, wanted = [torch.from_numpy(ids) for ids in (source, begun)], torch.from_numpy(target).reshape(-1)

    def loss_of():
        return torch.nn.functional.cross_entropy(module(*given).flatten(0, 1), wanted, label_smoothing=SMOOTHING)
    whole = torch.compile(loss_of) if compiled else loss_of

    def step(update: bool = True):
        optimizer.zero_grad()
        loss = whole()
        loss.backward()
        if update:
            optimizer.step()
        return loss.item()
    return step, module


def peer(model, args):
    """torch's layers with our weights."""
    import torch

    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(args.vocabulary, args.width)
            self.transformer = torch.nn.Transformer(args.width, args.width // 32, args.layers, args.layers,
                                                    4 * args.width, 0.0, batch_first=True)
            self.transformer.encoder.norm = self.transformer.decoder.norm = None
            self.dropout = torch.nn.Dropout(0.0)
            self.register_buffer("sines", torch.from_numpy(np.array(model.sines)))
            self.register_buffer("mask", torch.nn.Transformer.generate_square_subsequent_mask(args.length))

        def embed(self, ids):
            return self.dropout(self.embedding(ids) * args.width ** 0.5 + self.sines[:ids.shape[1]])

        def forward(self, source, target):
            y = self.transformer(self.embed(source), self.embed(target), tgt_mask=self.mask, tgt_is_causal=True)
            return torch.nn.functional.linear(y, self.embedding.weight)
    module = Peer()
    state = {k: torch.from_numpy(np.array(v)) for k, v in model.state_dict().items()}
    left = module.load_state_dict(state, strict=False)
    if left.unexpected_keys or set(left.missing_keys) - {"sines", "mask"}:
        raise AssertionError(f"weights do not fit: {left}")
    return module


def difference(model, module) -> float:
    """Of both networks' gradients, by their norm."""
    found = {name: p.grad for name, p in model.named_parameters()}
    pairs = [(found[name], p.grad.numpy()) for name, p in module.named_parameters()]
    return float(np.sqrt(sum(np.square(a - b, dtype=np.float64).sum() for a, b in pairs)
                         / sum(np.square(b, dtype=np.float64).sum() for _, b in pairs)))


def set_dropout(model, module, p: float) -> None:
    """Of every layer of both, attention included."""
    import torch
    for layer in model.modules():
        if type(layer).__name__ == "Dropout":
            layer.p = p
        elif type(layer).__name__ == "MultiheadAttention":
            layer.dropout = p
    for layer in module.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = p
        elif isinstance(layer, torch.nn.MultiheadAttention):
            layer.dropout = p


def products(args, clock) -> float:
    """Milliseconds that the products of linear layers, three for each, take at the speed of one of (tokens, width)
    by (4 width, width)."""
    tokens, width = args.batch * args.length, args.width
    weights = args.layers * ((4 + 8) + (8 + 8)) * width * width + args.vocabulary * width
    a, b = np.ones((tokens, width), np.float32), np.ones((4 * width, width), np.float32)
    best = min(timed(lambda: F.linear(a, b), clock) for _ in range(20))
    return 1e3 * best * 3 * weights / (4 * width * width)


def timed(run, clock) -> float:
    start = clock()
    run()
    return clock() - start


if __name__ == "__main__":
    raise SystemExit(main())
