"""Embedding: a learnt table of vectors, looked up by index."""
from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..core.types import DType
from . import init
from .module import Module, Parameter, as_array
from .sizes import whole


class Embedding(Module):
    """Rows of weight (num_embeddings, embedding_dim) at the given indices. The row padding_idx
    starts at zero and gets no gradient.

    max_norm: rows that are looked up are first scaled in place to a norm_type-norm of at most
    this. scale_grad_by_freq divides a row's gradient by how often the batch looks it up. sparse
    gradients are not supported.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                 sparse: bool = False, *, dtype: DType = np.float32) -> None:
        whole(type(self).__name__, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self._settle(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq,
                     sparse)
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), dtype))
        self.reset_parameters()

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None,
                        max_norm: float | None = None, norm_type: float = 2.0,
                        scale_grad_by_freq: bool = False, sparse: bool = False) -> Embedding:
        """An Embedding whose weight is `embeddings`: (rows, width), float32 or float64, an array,
        Tensor or torch tensor.

        The numbers are shared, not copied, where they are an array that can be written. freeze:
        they are not trained. padding_idx: a row that gets no gradient; it keeps its numbers.
        ValueError or TypeError where embeddings are no such table.
        """
        weight = as_array(embeddings)
        if weight.ndim != 2:
            raise ValueError(
                f"Embedding.from_pretrained: embeddings must be (rows, width), got shape {weight.shape}")
        if weight.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"Embedding.from_pretrained: embeddings must be float32 or float64, got {weight.dtype}")
        module = cls.__new__(cls)
        module._settle(weight.shape[0], weight.shape[1], padding_idx, max_norm, norm_type, scale_grad_by_freq,
                       sparse)
        module.weight = Parameter(np.require(weight, requirements=["C", "W"]), requires_grad=not freeze)
        return module

    def _settle(self, num_embeddings: Any, embedding_dim: Any, padding_idx: Any, max_norm: Any,
                norm_type: Any, scale_grad_by_freq: Any, sparse: Any) -> None:
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx {padding_idx} is not a row of {num_embeddings}")
        if sparse:
            raise ValueError("Embedding: sparse=True is not supported, gradients are dense")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, input: Any) -> Any:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        options = [("padding_idx", None), ("max_norm", None), ("norm_type", 2.0),
                   ("scale_grad_by_freq", False)]
        said = "".join(f", {name}={getattr(self, name)}"
                       for name, default in options if getattr(self, name) != default)
        return f"{self.num_embeddings}, {self.embedding_dim}{said}"
