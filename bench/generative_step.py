"""A training step of two players beside torch eager: python -m pyops.bench.generative_step
[dcgan_64|pix2pix] [--batch N --size N --base N --repeats N --profile]

A step is what a turn of GenerativeTrainer is: the generator's images, the discriminator's loss on real
and made ones with backward and an Adam step, and the generator's through the discriminator. torch does
the same with the same layers, images and weights; of pix2pix without dropout, which would differ. The
losses of the first step are compared. Both take turns; the table gives the shortest and the median step.
"""
from __future__ import annotations

import argparse
import time

import numpy as np

import pyops
from pyops import models, train
from pyops.train.generative import PictureDataset

from .measure import beside_torch
from .training_step import profile


def ours(name: str, args, images: np.ndarray, sources: np.ndarray):
    """(model, step): step() returns the losses."""
    pyops.manual_seed(0)
    paired = name == "pix2pix"
    model = models.create_model(name, size=args.size, base=args.base, **({"dropout": 0.0} if paired else {}))
    inputs, targets = (sources, images) if paired else (images, np.zeros(len(images), np.int64))
    trainer = train.GenerativeTrainer(model, PictureDataset(inputs, targets), "unused", average=0.0)
    model.train()
    return model, lambda: trainer.turn(inputs, targets).losses


def theirs(name: str, model, images: np.ndarray, sources: np.ndarray):
    import torch
    from torch.nn import functional as F
    torch.set_num_threads(pyops.get_num_threads())
    generator, judge = translated(model.generator), translated(model.discriminator)
    (lr, settings), paired = (model.rule.lr, dict(model.rule.settings)), name == "pix2pix"
    for_generator, for_judge = (torch.optim.Adam(m.parameters(), lr, **settings) for m in (generator, judge))
    real, given = torch.from_numpy(images), torch.from_numpy(sources)
    ones, zeros = torch.ones, torch.zeros

    def scores(x):
        return judge(torch.cat([given, x], 1) if paired else x)

    def against(logits, value):
        return F.binary_cross_entropy_with_logits(logits, value(logits.shape))

    def step():
        made = generator(given if paired else torch.from_numpy(pyops.core.random.default_generator().standard_normal(
            (len(images), model.image[0]), np.float32)))
        for_judge.zero_grad()
        loss = (against(scores(real), ones) + against(scores(made.detach()), zeros)) * (0.5 if paired else 1)
        loss.backward()
        for_judge.step()
        for_generator.zero_grad()
        judge.requires_grad_(False)
        other = against(scores(made), ones)
        distance = F.l1_loss(made, real) * model.l1 if paired else 0
        (other + distance).backward()
        judge.requires_grad_(True)
        for_generator.step()
        told = {"discriminator": loss.item(), "generator": other.item()}
        return told | ({"distance": distance.item()} if paired else {})
    return step


def translated(module):
    """Our layers as torch's, with their weights."""
    import torch
    from torch import nn
    kind, children = type(module).__name__, list(module.children())
    if kind in ("TranslationUNet", "Level"):
        made = torch_level(module)
    elif kind in ("Sequential", "FromCodes"):
        first = [nn.Unflatten(1, (-1, 1, 1))] if kind == "FromCodes" else []
        made = nn.Sequential(*first, *map(translated, children))
    elif kind in ("Conv2d", "ConvTranspose2d"):
        made = getattr(nn, kind)(module.in_channels, module.out_channels, module.kernel_size, module.stride,
                                 module.padding, bias=module.bias is not None)
    elif kind == "BatchNorm2d":
        made = nn.BatchNorm2d(module.num_features)
    elif kind == "LeakyReLU":
        made = nn.LeakyReLU(module.negative_slope, inplace=True)
    else:
        made = {"ReLU": lambda: nn.ReLU(inplace=True), "Tanh": nn.Tanh, "Flatten": nn.Flatten}[kind]()
    if not children and hasattr(module, "weight"):
        made.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in module.state_dict().items()})
    return made


def torch_level(level):
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Level(nn.Module):
        def __init__(self):
            super().__init__()
            for name, child in level.named_children():
                setattr(self, name, translated(child))

        def forward(self, x):
            outermost = type(level).__name__ == "TranslationUNet"
            y = self.down(x if outermost else F.leaky_relu(x, 0.2))
            if level.below is not None:
                y = self.below(y if outermost else self.down_norm(y))
            y = self.up(F.relu(y))
            return torch.tanh(y) if outermost else torch.cat([x, self.up_norm(y)], 1)
    return Level()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pyops.bench.generative_step",
                                     description=__doc__.partition("\n\n")[0])
    parser.add_argument("name", nargs="?", default="dcgan_64", choices=("dcgan_32", "dcgan_64", "dcgan_128", "pix2pix"))
    parser.add_argument("--batch", type=int, help="default: 64, of pix2pix 1")
    parser.add_argument("--size", type=int, help="default: the network's")
    parser.add_argument("--base", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--processor-time", action="store_true",
                        help="of all threads, where others compute on the machine; best with PYOPS_NUM_THREADS=1")
    args = parser.parse_args()
    args.batch = args.batch or (1 if args.name == "pix2pix" else 64)
    args.size = args.size or (256 if args.name == "pix2pix" else int(args.name.rpartition("_")[2]))
    rng = np.random.default_rng(0)
    images, sources = (np.tanh(rng.standard_normal((args.batch, 3, args.size, args.size))).astype(np.float32)
                       for _ in range(2))
    model, step = ours(args.name, args, images, sources)
    other = theirs(args.name, model, images, sources)
    pyops.manual_seed(1)
    mine = step()
    pyops.manual_seed(1)
    reference = other()
    told = ", ".join(f"{name} {value:.5f} and {reference[name]:.5f}" for name, value in mine.items())
    print(f"{args.name}, batch {args.batch}, {args.size}x{args.size}, base {args.base}, {pyops.get_num_threads()} "
          f"threads; losses of the first step {told}")
    clock = time.process_time if args.processor_time else time.perf_counter
    print(*beside_torch(step, other, args.repeats, clock), sep="\n")
    if args.profile:
        for name, ms, calls in profile(step):
            print(f"{name:28} {ms:8.2f} ms  {calls:4} calls")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
