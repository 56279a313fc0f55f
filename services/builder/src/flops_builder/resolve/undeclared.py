"""What releases need and do not say: a resolver pairs them with what they cannot work with.

NumPy 2 broke the binary interface of compiled extensions and some of the Python one (NumPy 2.0 migration guide), and
setuptools 82 no longer has pkg_resources (its changelog). What was released before could not know; the metadata of most
has no upper bound. Tables only, each entry by the project's own release notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from flops_builder.dependencies.rules import Rule
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import Target

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
"""The first release of a project that runs with NumPy 2."""
FIRST_WITHOUT_PKG_RESOURCES = {"mlflow": "3", "mlflow-skinny": "3", "pytorch-lightning": "2.4", "umap-learn": "0.5.6"}
"""The first release that no longer imports pkg_resources, of projects that did without asking for setuptools."""
NO_PKG_RESOURCES = "82"


@dataclass(frozen=True)
class Undeclared:
    """What has to be added to a lock's requirements, and why."""

    rule: Rule
    requirement: str
    why: str
    missing: bool = False
    """True: nothing asks for the package at all. False: it is there, in another version."""


def undeclared(locks: Mapping[Target, Lock]) -> Iterator[Undeclared]:
    """What is wrong with these locks; nothing when all is well."""
    versions = [lock.versions for lock in locks.values()]
    old = _older([each for each in versions if not _before(each.get("numpy"), "2")], FIRST_FOR_NUMPY_TWO)
    if old:
        one = len(old) == 1
        why = f"{' and '.join(old)} came out before NumPy 2 and {'does' if one else 'do'} not run with it"
        yield Undeclared(Rule.NUMPY_1, "numpy<2", why)
    requirement = f"setuptools<{NO_PKG_RESOURCES}"
    if any("setuptools" in each and not _before(each["setuptools"], NO_PKG_RESOURCES) for each in versions):
        yield Undeclared(Rule.PKG_RESOURCES, requirement, "what asks for setuptools mostly wants its pkg_resources")
    users = _older([each for each in versions if "setuptools" not in each], FIRST_WITHOUT_PKG_RESOURCES)
    if users:
        why = f"{' and '.join(users)} wants pkg_resources and does not say so"
        yield Undeclared(Rule.PKG_RESOURCES, requirement, why, missing=True)


def _older(locks: list[dict[str, str]], first: Mapping[str, str]) -> list[str]:
    found = {
        f"{name}=={version}": None
        for versions in locks
        for name, version in versions.items()
        if name in first and _before(version, first[name])
    }
    return list(found)


def _before(version: str | None, first: str) -> bool:
    """Whether a version is known to be older, or the package is not there at all."""
    try:
        return version is None or Version(version) < Version(first)
    except InvalidVersion:  # it comes from a URL
        return False
