"""torchvision beside a CPU torch."""
from pyops.bench.torchvision_schemas import torchvision  # noqa: F401
