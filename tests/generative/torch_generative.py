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


def in_order(theirs):
    return theirs.in_our_order() if hasattr(theirs, "in_our_order") else list(theirs.parameters())


def same_weights(ours, theirs, seed=0):
    """Random weights in both, in float64 and training mode. The twin's arrays must have our shapes in
    our order."""
    ours.double().train()
    theirs.double().train()
    own, other = list(ours.parameters()), in_order(theirs)
    assert [p.data.shape for p in own] == [tuple(p.shape) for p in other]
    rng = np.random.default_rng(seed)
    for p, q in zip(own, other):
        p.data[...] = rng.standard_normal(p.data.shape) * (2 / max(2, p.data.size // len(p.data))) ** 0.5
        q.data.copy_(torch.from_numpy(p.data))


class Maxout(nn.Module):
    def __init__(self, features, units, pieces):
        super().__init__()
        self.linear, self.units = nn.Linear(features, units * pieces), units

    def forward(self, x):
        return self.linear(x).reshape(len(x), self.units, -1).max(-1).values


def gan_generator(size, latent, hidden):
    return nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
                         nn.Linear(hidden, size ** 2), nn.Tanh(), Reshape(1, size, size))


def gan_discriminator(size, units, pieces):
    return nn.Sequential(nn.Flatten(), Maxout(size ** 2, units, pieces), Maxout(units, units, pieces),
                         nn.Linear(units, 1))


class UNetBlock(nn.Module):
    """Figure 3 of pix2pix and its appendix, from the outside in: encoder C64-C128-..., decoder with
    skips; numbers of channels as lists."""

    def __init__(self, channels, out, widths, norm=nn.BatchNorm2d):
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for at, (a, b) in enumerate(zip([channels, *widths], widths)):
            layers = [] if at == 0 else [nn.LeakyReLU(0.2)]
            layers.append(nn.Conv2d(a, b, 4, 2, 1, bias=False))
            if 0 < at < len(widths) - 1:
                layers.append(norm(b))
            self.encoder.append(nn.Sequential(*layers))
        for at in range(len(widths) - 1, -1, -1):
            wide = widths[at] * (1 if at == len(widths) - 1 else 2)
            if at:
                up = nn.ConvTranspose2d(wide, widths[at - 1], 4, 2, 1, bias=False)
                self.decoder.append(nn.Sequential(nn.ReLU(), up, norm(widths[at - 1])))
            else:
                self.decoder.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(wide, out, 4, 2, 1), nn.Tanh()))

    def forward(self, x):
        maps = []
        for layer in self.encoder:
            x = layer(x)
            maps.append(x)
        for layer, skip in zip(self.decoder, [None, *maps[-2::-1]]):
            x = layer(x if skip is None else torch.cat([skip, x], 1))
        return x

    def in_our_order(self):
        """Ours go down and up level by level: a level's encoder, its norm, what is below, its decoder."""
        def level(at):
            yield from self.encoder[at].parameters()
            if at + 1 < len(self.encoder):
                yield from level(at + 1)
            yield from self.decoder[len(self.decoder) - 1 - at].parameters()
        return list(level(0))


def patch_discriminator(channels, base, layers, norm, bias):
    found, width = [nn.Conv2d(channels, base, 4, 2, 1), nn.LeakyReLU(0.2)], base
    for at in range(1, layers + 1):
        wider = base * min(2 ** at, 8)
        found += [nn.Conv2d(width, wider, 4, 2 if at < layers else 1, 1, bias=bias), norm(wider), nn.LeakyReLU(0.2)]
        width = wider
    return nn.Sequential(*found, nn.Conv2d(width, 1, 4, 1, 1))


class ResidualBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c, 3, padding=1, padding_mode="reflect"), nn.Conv2d(
            c, c, 3, padding=1, padding_mode="reflect")

    def forward(self, x):
        norm = nn.functional.instance_norm
        return x + norm(self.b(torch.relu(norm(self.a(x)))))


def resnet_generator(channels, base, blocks):
    def layer(kind, *args, **kwargs):
        return [kind(*args, **kwargs), nn.InstanceNorm2d(args[1]), nn.ReLU()]
    return nn.Sequential(
        *layer(nn.Conv2d, channels, base, 7, padding=3, padding_mode="reflect"),
        *layer(nn.Conv2d, base, 2 * base, 3, 2, 1), *layer(nn.Conv2d, 2 * base, 4 * base, 3, 2, 1),
        *[ResidualBlock(4 * base) for _ in range(blocks)],
        *layer(nn.ConvTranspose2d, 4 * base, 2 * base, 3, 2, 1, 1),
        *layer(nn.ConvTranspose2d, 2 * base, base, 3, 2, 1, 1),
        nn.Conv2d(base, channels, 7, padding=3, padding_mode="reflect"), nn.Tanh())


class StyleGenerator(nn.Module):
    def __init__(self, channels, wide, latent, style, layers):
        super().__init__()
        self.mapping = nn.Sequential(*[part for at in range(layers) for part in (
            nn.Linear(style if at else latent, style), nn.LeakyReLU(0.2))])
        self.start = nn.Parameter(torch.ones(1, wide[0], 4, 4))
        self.first = nn.Linear(style, 2 * wide[0])
        out = [*wide[1:], wide[-1]]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(wide, out))
        self.styles = nn.ModuleList(nn.Linear(style, 2 * b) for b in out)
        self.to_image = nn.Conv2d(wide[-1], channels, 1)

    @staticmethod
    def adain(x, both):
        scale, bias = both.chunk(2, 1)
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(var + 1e-5) * scale[..., None, None] + bias[..., None, None]

    def forward(self, z):
        style = self.mapping(z / torch.sqrt((z ** 2).mean(1, keepdim=True) + 1e-8))
        x = self.adain(self.start.expand(len(z), -1, -1, -1), self.first(style))
        for convolution, affine in zip(self.convolutions, self.styles):
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.adain(nn.functional.leaky_relu(convolution(x), 0.2), affine(style))
        return torch.tanh(self.to_image(x))

    def in_our_order(self):
        """The parameter of the synthesis comes where ours does: after the mapping."""
        return [*self.mapping.parameters(), self.start, *self.first.parameters(), *self.convolutions.parameters(),
                *self.styles.parameters(), *self.to_image.parameters()]


class Vae(nn.Module):
    def __init__(self, size, channels, wide, latent, hidden):
        super().__init__()
        down = [part for a, b in zip([channels, *wide], wide) for part in (nn.Conv2d(a, b, 4, 2, 1), nn.ReLU())]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(wide[-1] * 16, hidden), nn.ReLU(),
                                     nn.Linear(hidden, 2 * latent))
        back = wide[::-1]
        up = [part for a, b in zip(back, [*back[1:], channels])
              for part in (nn.ReLU(), nn.ConvTranspose2d(a, b, 4, 2, 1))]
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, wide[-1] * 16),
                                     Reshape(wide[-1], 4, 4), *up)

    def forward(self, x, noise, beta):
        """The loss of appendix B, with torch's distributions."""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        q = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
        logits = self.decoder(mean + torch.exp(log_variance / 2) * noise)
        ink = torch.distributions.Bernoulli(logits=logits, validate_args=False).log_prob((x + 1) / 2)
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
        return -ink.sum() / len(x), beta * kl.sum() / len(x)
