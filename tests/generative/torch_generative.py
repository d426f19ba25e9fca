"""Networks that make images once more, in torch, as their papers have them, with the parameters in
our order: arrays are matched one after the other."""
import numpy as np
import torch
from torch import nn


class Reshape(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(len(x), *self.shape)


def dcgan_generator(size, channels, base, latent):
    """PyTorch's example of a DCGAN, for any size."""
    wide = [base * 2 ** i for i in range(int(np.log2(size)) - 3, -1, -1)]
    layers = [Reshape(latent, 1, 1), nn.ConvTranspose2d(latent, wide[0], 4, 1, 0, bias=False),
              nn.BatchNorm2d(wide[0]), nn.ReLU(True)]
    for a, b in zip(wide, wide[1:]):
        layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(wide[-1], channels, 4, 2, 1, bias=False), nn.Tanh())


def dcgan_discriminator(size, channels, base):
    wide = [base * 2 ** i for i in range(int(np.log2(size)) - 2)]
    layers = [nn.Conv2d(channels, wide[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for a, b in zip(wide, wide[1:]):
        layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(wide[-1], 1, 4, 1, 0, bias=False), nn.Flatten())


def same_weights(ours, theirs, seed=0):
    """Random weights in both, in float64 and training mode. The twin's arrays must have our shapes in
    our order."""
    ours.double().train()
    theirs.double().train()
    own, other = list(ours.parameters()), list(theirs.parameters())
    assert [p.data.shape for p in own] == [tuple(p.shape) for p in other]
    rng = np.random.default_rng(seed)
    for p, q in zip(own, other):
        p.data[...] = rng.standard_normal(p.data.shape) * (2 / max(2, p.data.size // len(p.data))) ** 0.5
        q.data.copy_(torch.from_numpy(p.data))
