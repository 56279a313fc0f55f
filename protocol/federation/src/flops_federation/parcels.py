"""Parcels: what one message on the stream carries, whoever speaks.

A parcel has the parts of a Flower message (named records of arrays, metrics and configuration, or an error) without
needing Flower, so that a learner starts without importing it. `flops_federation.flower` turns one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Scalar: TypeAlias = int | float | str | bytes | bool
ConfigValue: TypeAlias = Scalar | list[int] | list[float] | list[str] | list[bytes] | list[bool]
MetricValue: TypeAlias = int | float | list[int] | list[float]
Buffer: TypeAlias = bytes | bytearray | memoryview

NPY = "numpy.ndarray"
"""Flower's name for arrays that travel as the bytes of a `.npy` file."""


@dataclass(frozen=True)
class ArrayData:
    """One array: `data` is the bytes of a `.npy` file, never a pickle."""

    dtype: str
    shape: tuple[int, ...]
    data: Buffer
    stype: str = NPY


@dataclass(frozen=True)
class Failure:
    """Why there is no content: Flower's error code and a reason."""

    code: int
    reason: str


@dataclass(frozen=True)
class Parcel:
    """One message. `metadata` holds identifiers and times; records are named.

    A metric that is not a finite number arrives as NaN: JSON knows no infinities.
    """

    kind: str
    """`train`, `evaluate` or `query`, as in Flower's message types."""
    metadata: dict[str, int | float | str | None] = field(default_factory=dict)
    arrays: dict[str, dict[str, ArrayData]] = field(default_factory=dict)
    metrics: dict[str, dict[str, MetricValue]] = field(default_factory=dict)
    configs: dict[str, dict[str, ConfigValue]] = field(default_factory=dict)
    failure: Failure | None = None
