"""Releases that need NumPy 1 and do not say so: every resolver pairs them with NumPy 2, and then they do not work.

NumPy 2 broke the binary interface of compiled extensions and some of the Python one (NumPy 2.0 migration guide). What
was released before could not know; the metadata of most has no upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping

from packaging.version import InvalidVersion, Version

from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import Target

NUMPY_ONE = "numpy<2"
FIRST_FOR_NUMPY_TWO = {
    "datasets": "2.21",
    "h5py": "3.11",
    "matplotlib": "3.8.4",
    "opencv-contrib-python": "4.10",
    "opencv-contrib-python-headless": "4.10",
    "opencv-python": "4.10",
    "opencv-python-headless": "4.10",
    "pandas": "2.2.2",
    "pyarrow": "16",
    "pywavelets": "1.6",
    "scikit-image": "0.23",
    "scikit-learn": "1.4.2",
    "scipy": "1.13",
    "shapely": "2.0.5",
    "statsmodels": "0.14.2",
    "tensorflow": "2.18",
    "torch": "2.3",
    "torchvision": "0.18",
}
"""The first release of a project that runs with NumPy 2 (its own release notes)."""


def needs_numpy_one(locks: Mapping[Target, Lock]) -> tuple[str, ...]:
    """What stands beside NumPy 2 in a lock and cannot: `("pandas==2.0.3",)`; empty when all is well."""
    found: dict[str, None] = {}
    for lock in locks.values():
        versions = lock.versions
        if not _before(versions.get("numpy"), "2"):
            found |= {
                f"{name}=={version}": None
                for name, version in versions.items()
                if name in FIRST_FOR_NUMPY_TWO and _before(version, FIRST_FOR_NUMPY_TWO[name])
            }
    return tuple(found)


def _before(version: str | None, first: str) -> bool:
    """Whether a version is known to be older."""
    try:
        return version is None or Version(version) < Version(first)
    except InvalidVersion:  # it comes from a URL
        return False
