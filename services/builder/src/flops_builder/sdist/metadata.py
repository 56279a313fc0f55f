"""What a source says of the wheel that it becomes, read without running anything of it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import InvalidMarker, Marker
from packaging.metadata import RawMetadata, parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

RELIABLE = Version("2.2")
"""From this metadata version on, an archive's requirements are those of its wheels (PEP 643)."""


@dataclass(frozen=True)
class Foretold:
    """The metadata of a wheel that is not there yet."""

    version: str | None
    """None: it is computed by the build."""
    requires: tuple[str, ...] | None
    """None: they are computed by the build, or not said."""


def foretold(folder: Path) -> Foretold:
    """What a project's `PKG-INFO` (PEP 643) or `[project]` (PEP 621) says; nothing where they cannot be read."""
    archive, project = _archive(folder), _project(folder)
    dynamic = project.get("dynamic", [])
    dynamic = dynamic if isinstance(dynamic, list) else []
    version, requires = archive.get("version"), None
    if "dependencies" not in dynamic and "name" in project:
        requires = _of_project(project)
    elif _reliable(archive):
        requires = archive.get("requires_dist", [])
    if version is None and "version" not in dynamic:
        version = project.get("version")
    return Foretold(_version(version), _requirements(requires))


def _archive(folder: Path) -> RawMetadata:
    try:
        return parse_email((folder / "PKG-INFO").read_bytes())[0]
    except OSError:
        return {}


def _reliable(archive: RawMetadata) -> bool:
    told = _version(archive.get("metadata_version"))
    dynamic = {each.lower() for each in archive.get("dynamic", [])}
    return told is not None and Version(told) >= RELIABLE and "requires-dist" not in dynamic


def _project(folder: Path) -> dict[str, Any]:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text()).get("project", {})
    except (OSError, ValueError):
        return {}
    return project if isinstance(project, dict) else {}


def _of_project(project: dict[str, Any]) -> list[str] | None:
    try:
        requires = [str(each) for each in project.get("dependencies", [])]
        for extra, wanted in project.get("optional-dependencies", {}).items():
            for each in map(Requirement, wanted):
                condition = f'extra == "{extra}"'
                each.marker = Marker(f"({each.marker}) and {condition}" if each.marker else condition)
                requires.append(str(each))
    except (InvalidRequirement, InvalidMarker, TypeError, AttributeError):  # a backend will say what is wrong
        return None
    return requires


def _version(text: object) -> str | None:
    try:
        return str(Version(str(text)))
    except InvalidVersion:
        return None


def _requirements(texts: list[str] | None) -> tuple[str, ...] | None:
    try:
        return None if texts is None else tuple(str(Requirement(each)) for each in texts)
    except InvalidRequirement:
        return None
