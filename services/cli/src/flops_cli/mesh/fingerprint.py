"""Versions of the FL runtime and of the builder, as fingerprints of their sources.

They are part of every image key, so that images are built anew when what makes them has changed, and only then.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

RUNTIME = ("flops_protocol", "flops_federation", "flops_mlrepo", "flops_aggregator", "flops_learner")
RUNTIME_PINS = ("flwr",)
BUILDER = ("flops_builder", "flops_registry")


def runtime_version() -> str:
    """`0.1.0+` and 16 hexadecimal digits over the sources of the runtime's packages, and the versions pinned there."""
    return _fingerprint(RUNTIME, RUNTIME_PINS)


def builder_version() -> str:
    """The same over the builder and its documents: another builder may make another image of the same inputs."""
    return _fingerprint(BUILDER, ())


def _fingerprint(packages: tuple[str, ...], pins: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for package in packages:
        for root in _roots(package):
            for path in sorted(root.rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(root).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    for distribution in pins:
        digest.update(f"{distribution}=={version(distribution)}\0".encode())
    return f"{version('flops-protocol')}+{digest.hexdigest()[:16]}"


def _roots(package: str) -> list[Path]:
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    return [Path(location) for location in spec.submodule_search_locations]
