"""onnx.backend.base.Backend: what onnx's own tests drive."""

from __future__ import annotations

import numpy as np
import onnx
from onnx.backend.base import Backend as Base, BackendRep, Device, DeviceType

from .model import ModelError
from .ops import OPS  # noqa: F401
from .program import Maker, computed, parsed, refused_inputs, varying
from .values import given


class Prepared(BackendRep):
    """A model ready to run: as a Program (`compiled`) if tracing takes it, else node by node."""

    def __init__(self, model):
        self.model, self.program, self.last, self.why = model, None, None, ""
        try:
            self.why = refused_inputs(model, {})
            if not self.why:
                free = list(model.inputs)
                shapes = [model.inputs[name][1] for name in free]
                self.program = varying(model, free, {}, Maker(model, {}, shapes))
        except ModelError as why:
            self.why = str(why)

    @property
    def compiled(self) -> bool:
        """Whether the last run was a Program's."""
        return self.program is not None and not getattr(self.last, "left_out", "")

    def run(self, inputs, **kwargs):
        arrays = list(inputs.values()) if isinstance(inputs, dict) else list(inputs)
        if self.program is not None:
            self.last = self.program.program_for(*arrays)
            self.why = getattr(self.last, "left_out", "")
            found = self.program(*arrays)
            return found if isinstance(found, tuple) else (found,)
        return tuple(computed(self.model, dict(zip(self.model.inputs, map(given, arrays)))))


class Backend(Base):
    """pyops for onnx.backend.test. Device: CPU."""

    @classmethod
    def is_compatible(cls, model, device: str = "CPU", **kwargs) -> bool:
        try:
            parsed(model)
        except ModelError:
            return False
        return True

    @classmethod
    def prepare(cls, model, device: str = "CPU", **kwargs) -> Prepared:
        return Prepared(parsed(model))

    @classmethod
    def run_node(cls, node, inputs, device: str = "CPU", outputs_info=None, **kwargs):
        given = [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(np.asarray(x).dtype), np.asarray(x).shape
            )
            for name, x in zip((n for n in node.input if n), inputs)
        ]
        made = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output]
        opset = kwargs.get("opset_version") or onnx.defs.onnx_opset_version()
        model = onnx.helper.make_model(
            onnx.helper.make_graph([node], "node", given, made),
            opset_imports=[onnx.helper.make_opsetid("", opset)],
        )
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return Device(device).type == DeviceType.CPU
