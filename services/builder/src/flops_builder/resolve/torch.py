"""PyTorch for the nodes that are there: without a GPU, a build for the CPU where there is one, not CUDA's gigabytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from flops_builder.dependencies.declaration import Requirement
from flops_builder.dependencies.names import TORCH
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import MACHINES, Target

CPU = "cpu"


def cpu_constraints(requirements: Sequence[Requirement], target: Target, find_links: Iterable[str]) -> tuple[str, ...]:
    """Pins to CPU builds that lie in folders of `find_links`, as far as the requirements allow them."""
    wanted = {each.name: each.parsed.specifier for each in requirements}
    best: dict[str, Version] = {}
    for name, version in _cpu_wheels(target, find_links):
        allowed = wanted.get(name)
        if (allowed is None or allowed.contains(version, prereleases=True)) and version > best.get(name, Version("0")):
            best[name] = version
    return tuple(f"{name}=={version}" for name, version in sorted(best.items()))


def same_release(constraints: tuple[str, ...]) -> tuple[str, ...]:
    """The same pins for a platform that has no such builds: `torch==2.3.0` for `torch==2.3.0+cpu`."""
    return tuple(each.removesuffix(f"+{CPU}") for each in constraints)


def cuda_packages(lock: Lock) -> list[str]:
    """The packages of a lock that are CUDA's libraries."""
    return [name for name in lock.versions if name.startswith("nvidia-")]


def torch_class(lock: Lock, *, gpus: bool) -> str | None:
    """For which class of nodes a lock has PyTorch, and why, as a person would say it; None: it has none.

    :param gpus: whether the learners' nodes have GPUs
    """
    version = lock.versions.get(TORCH[0])
    if version is None:
        return None
    if cuda_packages(lock):
        fits = "for the GPUs of the learners' nodes" if gpus else "though no learner's node has a GPU"
        return f"PyTorch {version} with CUDA, {fits}"
    return f"PyTorch {version} for the CPU" + ("" if gpus else ": no learner's node has a GPU")


def _cpu_wheels(target: Target, find_links: Iterable[str]) -> Iterable[tuple[str, Version]]:
    interpreter = f"cp{target.python.replace('.', '')}"
    for place in find_links:
        folder = Path(unquote(urlsplit(place).path) if place.startswith("file:") else place)
        if "://" in str(place) and not place.startswith("file:"):
            continue
        for file in sorted(folder.glob("torch*.whl")) if folder.is_dir() else ():
            try:
                name, version, _, tags = parse_wheel_filename(file.name)
            except InvalidWheelFilename:
                continue
            fits = any(
                tag.platform.endswith(MACHINES[target.platform]) and tag.interpreter in {interpreter, "py3"}
                for tag in tags
            )
            if name in TORCH and version.local == CPU and fits:
                yield name, version
