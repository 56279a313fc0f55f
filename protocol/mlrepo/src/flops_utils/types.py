"""Enumerations that FLOps repositories may import."""

from __future__ import annotations

import enum


class CustomEnum(enum.Enum):
    """An enumeration that prints as its value."""

    def __str__(self) -> str:
        return str(self.value)


class MLModelFlavor(str, enum.Enum):
    """MLflow's flavors that a model can be saved by."""

    SKLEARN = "sklearn"
    PYTORCH = "pytorch"
    TENSORFLOW = "tensorflow"
    KERAS = "keras"


class FLOpsMode(str, enum.Enum):
    """How training is arranged."""

    CLASSIC = "classic"
    HIERARCHICAL = "hierarchical"


class PlatformSupport(str, enum.Enum):
    """Platforms of an image."""

    LINUX_AMD64 = "linux/amd64"
    LINUX_ARM64 = "linux/arm64"


class AggregatorType(enum.Enum):
    """Which aggregator one is."""

    CLASSIC_AGGREGATOR = "CLASSIC_AGGREGATOR"
    ROOT_AGGREGATOR = "ROOT_AGGREGATOR"
    CLUSTER_AGGREGATOR = "CLUSTER_AGGREGATOR"
