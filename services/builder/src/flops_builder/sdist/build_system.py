"""Which backend builds a project, and what that needs (PEP 518, PEP 517)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEGACY = "setuptools.build_meta:__legacy__"
"""What builds a project that says nothing (PEP 517, "Source trees")."""
LEGACY_REQUIRES = ("setuptools>=40.8.0,<82",)
"""setuptools 82 no longer has pkg_resources, which a `setup.py` of that time may import."""


class BuildSystemError(Exception):
    """Raised when `[build-system]` cannot be understood. Its text says why."""


@dataclass(frozen=True)
class BuildSystem:
    """A backend as `[build-system]` names it."""

    backend: str
    requires: tuple[str, ...]
    paths: tuple[str, ...] = ()
    """Folders of an in-tree backend, relative to the project."""


def read_build_system(project: Path) -> BuildSystem:
    """Reads the project's `pyproject.toml`, where it has one.

    :raises BuildSystemError: when it is broken, or there is nothing that could be built
    """
    file = project / "pyproject.toml"
    if not file.is_file():
        if not (project / "setup.py").is_file():
            raise BuildSystemError("it has neither a pyproject.toml nor a setup.py")
        return BuildSystem(LEGACY, LEGACY_REQUIRES)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildSystemError(f"its pyproject.toml cannot be read: {error}") from error
    table = document.get("build-system")
    if table is None:
        return BuildSystem(LEGACY, LEGACY_REQUIRES)
    if not isinstance(table, dict) or not _texts(table.get("requires")):
        raise BuildSystemError("[build-system] of its pyproject.toml has no list `requires`")
    paths = table.get("backend-path", [])
    backend = table.get("build-backend", LEGACY)
    if not isinstance(backend, str) or not _texts(paths):
        raise BuildSystemError("build-backend or backend-path of its pyproject.toml is of a wrong type")
    root = project.resolve()
    for each in paths:
        if not (project / each).resolve().is_relative_to(root):
            raise BuildSystemError(f"backend-path {each!r} leaves the project")
    return BuildSystem(backend, tuple(table["requires"]), tuple(paths))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
