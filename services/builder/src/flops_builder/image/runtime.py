"""Layer 1: Flower, both bootstrappers and the bus. The same for every project of one Python minor and platform."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flops_protocol.errors import FlopsError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ACTORS = ("flops-aggregator", "flops-learner")
BYTECODE = re.compile(r"(^|/)__pycache__/|\.pyc$")
NOT_LOADED = ("alembic", "fastapi", "prompt-toolkit", "sqlalchemy", "starlette", "uv", "uvicorn")
"""What Flower requires for its SuperLink and its command line: a quarter of the layer, and no actor loads it."""
START = Path(__file__).with_name("flops_start.py")


@dataclass(frozen=True)
class OwnPackage:
    """One of our distributions: its import packages by name, and what it requires."""

    name: str
    version: str
    folders: Mapping[str, Path]
    requires: tuple[Requirement, ...]


@dataclass(frozen=True)
class Runtime:
    """What the FL runtime is made of, third-party packages still unresolved."""

    packages: tuple[OwnPackage, ...]
    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    """The versions beside the builder: those that were tested together."""

    def files(self) -> list[tuple[str, Path]]:
        """Our own packages and the start file: path in the layer's folder, and source; in a fixed order."""
        files = [("flops_start.py", START)]
        for package in self.packages:
            for name, folder in sorted(package.folders.items()):
                for file in sorted(folder.rglob("*")):
                    relative = f"{name}/{file.relative_to(folder).as_posix()}"
                    if file.is_file() and not BYTECODE.search(relative):
                        files.append((relative, file))
        return files


def find_runtime(wheels: Path | None, scratch: Path) -> Runtime:
    """Our own packages, from a folder of wheels or as they are installed beside the builder, never imported.

    `scratch`: an empty folder, where wheels are unpacked.

    :raises FlopsError: FLOPS-P010 when one is not there
    """
    packages: dict[str, OwnPackage] = {}
    third_party: dict[str, Requirement] = {}
    waiting = [Requirement(name) for name in ACTORS]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name not in packages:
            packages[name] = _from_wheels(name, wheels, scratch) if wheels else _installed(name)
        for required in packages[name].requires:
            if not _applies(required, wanted.extras):
                continue
            if canonicalize_name(required.name).startswith("flops-"):
                if canonicalize_name(required.name) not in packages or required.extras:
                    waiting.append(
                        Requirement(
                            f"{required.name}[{','.join(required.extras)}]" if required.extras else required.name
                        )
                    )
            else:
                plain = Requirement(str(required))
                plain.marker = None
                third_party[str(plain)] = plain
    requirements = tuple(sorted(third_party))
    return Runtime(tuple(packages[name] for name in sorted(packages)), requirements, _tested_versions())


def _applies(required: Requirement, extras: set[str]) -> bool:
    if required.marker is None:
        return True
    return any(required.marker.evaluate({"extra": extra}) for extra in extras | {""})


def _installed(name: str) -> OwnPackage:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise FlopsError(
            "FLOPS-P010", f"{name} is not installed beside the builder, and FLOPS_RUNTIME_WHEELS is not set"
        ) from error
    folders = {}
    for module in MODULES.get(name, (name.replace("-", "_"),)):
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise FlopsError("FLOPS-P010", f"{module} of {name} is not installed beside the builder")
        folders[module] = Path(next(iter(spec.submodule_search_locations)))
    requires = tuple(Requirement(each) for each in distribution.requires or ())
    return OwnPackage(name, distribution.version, folders, requires)


MODULES = {"flops-mlrepo": ("flops_mlrepo", "flops_utils")}
"""Import packages of a distribution, where they are not its name."""


def _from_wheels(name: str, wheels: Path, scratch: Path) -> OwnPackage:
    found = [file for file in sorted(wheels.glob("*.whl")) if parse_wheel_filename(file.name)[0] == name]
    if not found:
        raise FlopsError("FLOPS-P010", f"there is no wheel of {name} in {wheels}")
    wheel = found[-1]
    target = scratch / name
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    (information,) = target.glob("*.dist-info")
    distribution = importlib.metadata.PathDistribution(information)
    folders = {
        each.name: each
        for each in target.iterdir()
        if each.is_dir() and not each.name.endswith((".dist-info", ".data"))
    }
    return OwnPackage(
        name, distribution.version, folders, tuple(Requirement(each) for each in distribution.requires or ())
    )


def _tested_versions() -> tuple[str, ...]:
    pins = {}
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"] or "")
        if name and not name.startswith("flops-") and re.fullmatch(r"[0-9][A-Za-z0-9.]*", distribution.version):
            pins[name] = f"{name}=={distribution.version}"
    return tuple(sorted(pins.values()))
