"""Rotary positions beyond the length that a network was trained on, under the names that
config.json has for them (rope_parameters, or rope_scaling in older files).

    default    theta_i = base^(-2i / features)
    linear     positions divided by the factor. Chen et al. (2023), "Extending context window of large
               language models via position interpolation"
    dynamic    a base that grows with the text once it is longer than the network was trained on
               (NTK-aware scaling; Peng et al. (2023), section 3.3)
    yarn       slow turns are stretched, fast ones are not, and scores are sharpened. Peng et al. (2023),
               "YaRN: efficient context window extension of large language models", section 3.4
    llama3     turns slower than one in positions / low_freq_factor tokens are stretched, those faster than
               one in positions / high_freq_factor are not, in between by degrees. Grattafiori et al.
               (2024), "The Llama 3 herd of models"
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

KINDS = ("default", "linear", "dynamic", "yarn", "llama3")
OPTIONAL = ("attention_factor", "mscale", "mscale_all_dim")
MOST = 1 << 20   # a factor beyond which a file is taken to be damaged


@dataclass(frozen=True)
class Rope:
    """kind: one of KINDS. positions: that the network was trained on. factor: how many times longer
    texts may be. The others are yarn's: attention_factor multiplies cosines and sines (None: 1 + 0.1
    ln factor, or by mscale and mscale_all_dim), beta_fast and beta_slow: turns within `positions`
    above which a feature is not stretched and below which it is; truncate: whether the features where
    that is so are whole numbers. low_freq_factor and high_freq_factor are llama3's. ValueError for
    numbers out of range."""
    positions: int
    kind: str = "default"
    factor: float = 1.0
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"rope_type {self.kind!r} is not supported; it must be {' or '.join(map(repr, KINDS))}")
        for name, value in asdict(self).items():
            if name in ("kind", "truncate") or value is None and name in OPTIONAL:
                continue
            least = 1 if name == "factor" else 0
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= MOST:
                raise ValueError(f"rope_parameters: {name} must be a number from {least} to {MOST}, got {value!r}")
        if not isinstance(self.truncate, bool):
            raise ValueError(f"rope_parameters: truncate must be true or false, got {self.truncate!r}")
        if self.kind == "llama3" and not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(f"rope_parameters: low_freq_factor {self.low_freq_factor} must be positive and below "
                             f"high_freq_factor {self.high_freq_factor}")
        if self.positions < 1 or not self.beta_fast >= self.beta_slow > 0:
            raise ValueError(f"rope_parameters: {self.positions} positions, beta_fast {self.beta_fast} and beta_slow "
                             f"{self.beta_slow} must be positive, and beta_fast the larger")

    @classmethod
    def of(cls, found: Mapping[str, Any], positions: int) -> Rope:
        """From config.json's object; positions: its max_position_embeddings."""
        names = ("factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
                 "low_freq_factor", "high_freq_factor")
        kind = found.get("rope_type", found.get("type", "default"))
        settings = {name: found[name] for name in names if found.get(name) is not None}
        own = found.get("original_max_position_embeddings") if kind in ("yarn", "llama3") else None
        if own is not None:
            if isinstance(own, bool) or not isinstance(own, int) or not 1 <= own <= positions * MOST:
                raise ValueError("rope_parameters: original_max_position_embeddings must be a positive whole number, "
                                 f"got {own!r}")
            settings.setdefault("factor", max(1.0, positions / own))
        if kind == "llama3" and (own is None or len(settings) < 3):
            raise ValueError("rope_parameters: rope_type 'llama3' needs factor, low_freq_factor, high_freq_factor and "
                             "original_max_position_embeddings")
        if kind in KINDS[1:] and "factor" not in settings:
            raise ValueError(f"rope_parameters: rope_type {kind!r} needs a factor")
        return cls(positions if own is None else own, kind, **({} if kind == "default" else settings))

    @property
    def longest(self) -> int:
        """Tokens that a text may have."""
        return int(self.positions * self.factor)

    def frequencies(self, features: int, base: float, length: int) -> np.ndarray:
        """Angles of one position, (features / 2,) in float64, in a text of so many tokens."""
        if self.kind == "dynamic" and length > self.positions:
            grown = self.factor * length / self.positions - (self.factor - 1)
            base = base * grown ** (features / (features - 2))
        fast = base ** (-np.arange(0, features, 2) / features)
        if self.kind == "linear":
            return fast / self.factor
        if self.kind == "llama3":
            turns = self.positions * fast / (2 * math.pi)
            kept = np.clip((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor), 0, 1)
            return fast / self.factor * (1 - kept) + fast * kept
        if self.kind != "yarn":
            return fast
        low, high = (features * math.log(self.positions / (turns * 2 * math.pi)) / (2 * math.log(base))
                     for turns in (self.beta_fast, self.beta_slow))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, features - 1)
        stretched = np.clip((np.arange(len(fast)) - low) / (high - low if high != low else 0.001), 0, 1)
        return fast * (1 - stretched) + fast / self.factor * stretched

    @property
    def sharpened(self) -> float:
        """What cosines and sines are multiplied by."""
        if self.kind != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor

        def grown(scale: float) -> float:
            return 1 + 0.1 * scale * math.log(self.factor) if self.factor > 1 else 1.0
        if self.mscale and self.mscale_all_dim:
            return grown(self.mscale) / grown(self.mscale_all_dim)
        return grown(1.0)

    def tables(self, features: int, base: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        """cos and sin (count, features / 2) in float64 of F.rotary_embedding, by position, in a text of
        `count` tokens."""
        if self.kind == "dynamic" and features <= 2:
            raise ValueError(f"rope_type 'dynamic' needs more than two features that are turned, got {features}")
        angles = np.arange(count)[:, None] * self.frequencies(features, base, count)
        return np.cos(angles) * self.sharpened, np.sin(angles) * self.sharpened
