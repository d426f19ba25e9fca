"""Settings of a Transformer under the names of Hugging Face's config.json."""
from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

# by the names of types in a family's fields
KINDS: dict[str, Callable[[Any], bool]] = {
    "int": lambda x: isinstance(x, int) and not isinstance(x, bool), "bool": lambda x: isinstance(x, bool),
    "float": lambda x: isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) <= sys.float_info.max,
    "list": lambda x: isinstance(x, list) and all(map(KINDS["int"], x)),
    "dict": lambda x: isinstance(x, dict), "str": lambda x: isinstance(x, str), "None": lambda x: x is None,
}
MOST = 1 << 17   # of a size that no array tells


@dataclass
class Configuration:
    """Base: a family's fields with their published defaults.

    model_type: the family's name in config.json. FIXED: fields that we do not have, with the values
    that mean the same as not having them. SIZES: fields that must be positive whole numbers, or None
    where their type has it. ALIASES: other names of fields -> ours.
    """
    model_type: ClassVar[str] = ""
    FIXED: ClassVar[Mapping[str, tuple]] = {}
    SIZES: ClassVar[tuple[str, ...]] = ()
    ALIASES: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        for field in fields(self):
            wanted, value = str(field.type).split(" | "), getattr(self, field.name)
            if not any(KINDS[kind](value) for kind in wanted):
                raise ValueError(f"{self.model_type}: {field.name} must be {' or '.join(wanted)}, got {value!r}")
        for name in self.SIZES:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"{self.model_type}: {name} must be a positive whole number, got {value!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if "drop" in field.name and value is not None and not 0 <= value <= 1:
                raise ValueError(f"{self.model_type}: {field.name} must be a share from 0 to 1, got {value!r}")
            if field.name.endswith(("_eps", "_epsilon", "initializer_range")) and not value >= 0:
                raise ValueError(f"{self.model_type}: {field.name} must not be negative, got {value!r}")

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Any:
        """The settings of a config.json; fields that change no number are passed over. ValueError
        for values that this family has not."""
        found = {**{cls.ALIASES[k]: v for k, v in found.items() if k in cls.ALIASES}, **found}
        if found.get("quantization_config") is not None:
            raise ValueError(f"{cls.model_type}: quantization_config is not supported; save the weights as floats")
        for name, allowed in cls.FIXED.items():
            if name in found and found[name] not in allowed:
                raise ValueError(f"{cls.model_type}: {name} {found[name]!r} is not supported; it must be "
                                 f"{' or '.join(map(repr, allowed))}")
        return cls(**{f.name: found[f.name] for f in fields(cls) if f.name in found})

    def check_against(self, numbers: int, arrays: int) -> None:
        """ValueError for sizes that a file with so many numbers in so many arrays cannot be of, before
        anything is made by them."""
        for name in self.SIZES:
            most = arrays if "layer" in name else max(MOST, numbers)
            if (getattr(self, name) or 0) > most:
                raise ValueError(f"{self.model_type}: {name} {getattr(self, name)} is more than weights of {arrays} "
                                 f"arrays and {numbers} numbers can have")

    def to_json(self) -> dict[str, Any]:
        """config.json's fields."""
        return {"model_type": self.model_type} | asdict(self)


def divided(config: Configuration, width: str, heads: str) -> None:
    """ValueError unless the width is a multiple of the number of heads."""
    if getattr(config, width) % getattr(config, heads):
        raise ValueError(f"{config.model_type}: {width} {getattr(config, width)} must be a multiple of "
                         f"{heads} {getattr(config, heads)}")
