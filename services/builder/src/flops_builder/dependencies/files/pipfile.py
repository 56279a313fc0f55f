"""Pipenv's `Pipfile` and `Pipfile.lock`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError
from packaging.specifiers import SpecifierSet

from flops_builder.dependencies.declaration import Declaration, Repair, Requirement, requirement
from flops_builder.dependencies.files.locked import GitSource, extra_indexes, from_url, refuse_folder, sorted_by_name
from flops_builder.dependencies.files.text import read_text
from flops_builder.dependencies.files.toml import line_of, python_specifiers, read_toml, table, tables
from flops_builder.dependencies.rules import Rule

VARIABLES = (
    "os_name",
    "sys_platform",
    "platform_machine",
    "platform_system",
    "platform_python_implementation",
    "python_version",
    "python_full_version",
    "implementation_name",
)
"""Of markers (PEP 508)."""


def read_pipfile_lock(folder: Path, name: str) -> Declaration:
    """Reads a `Pipfile.lock`, its default packages, honoured exactly.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    text = read_text(folder, name)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise FlopsError("FLOPS-B021", f"it is no JSON: {error.msg}", file=name, line=error.lineno) from error
    if not isinstance(document, dict):
        raise FlopsError("FLOPS-B021", "it is no JSON object", file=name, line=1)
    about = table(document, "_meta", name)
    declared = _declaration(table(document, "default", name), table(about, "requires", name), name, text, locked=True)
    return replace(declared, options=_indexes(tables(about, "sources", name)))


def read_pipfile(folder: Path, name: str) -> Declaration:
    """Reads a `Pipfile`.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    document, text = read_toml(folder, name)
    declared = _declaration(
        table(document, "packages", name), table(document, "requires", name), name, text, locked=False
    )
    return replace(declared, options=_indexes(tables(document, "source", name)))


def _indexes(sources: list[dict[str, Any]]) -> tuple[str, ...]:
    """All but the first, which is Pipenv's own: here, that is the site's."""
    return extra_indexes(str(each.get("url", "")) for each in sources[1:])


def _declaration(
    packages: dict[str, Any], requires: dict[str, Any], name: str, text: str, *, locked: bool
) -> Declaration:
    requirements: list[Requirement] = []
    repairs: list[Repair] = []
    for key, value in packages.items():
        options = value if isinstance(value, dict) else {"version": value}
        line = line_of(text, f'"{key}"') or line_of(text, key)
        if options.get("path") == ".":
            why = "the repository's own code is on the path without being installed"
            repairs.append(Repair(Rule.OWN_PACKAGE, key, None, why, name, line))
        else:
            requirements.append(_requirement(key, options, name, line))
    return Declaration(
        file=name,
        requirements=sorted_by_name(requirements) if locked else tuple(requirements),
        python=_python(requires, name, text),
        python_line=line_of(text, "python_version") or line_of(text, "python_full_version"),
        repairs=tuple(repairs),
        locked=locked,
    )


def _requirement(key: str, options: dict[str, Any], name: str, line: int | None) -> Requirement:
    # Pipenv's own way to write a marker: `sys_platform = "== 'win32'"`.
    own = [f"{variable} {options[variable]}" for variable in VARIABLES if variable in options]
    marker = " and ".join([*([str(options["markers"])] if options.get("markers") else []), *own])
    if "git" in options:
        git = GitSource(str(options["git"]), str(options.get("ref", "")), str(options.get("subdirectory", "")))
        return from_url(key, git.address, marker, name, line)
    if "file" in options and "://" in str(options["file"]):
        return from_url(key, str(options["file"]), marker, name, line)
    if "path" in options or "file" in options:
        raise refuse_folder(key, options.get("path") or options.get("file"), name, line)
    extras = f"[{','.join(options['extras'])}]" if options.get("extras") else ""
    version = str(options.get("version", "*"))
    specifier = "" if version == "*" else version if version[:1] in "<>=!~" else f"=={version}"
    return requirement(f"{key}{extras}{specifier}" + (f" ; {marker}" if marker else ""), name, line)


def _python(requires: dict[str, Any], name: str, text: str) -> SpecifierSet | None:
    full, minor = requires.get("python_full_version"), requires.get("python_version")
    if full is not None:
        return python_specifiers(f"=={full}", name, line_of(text, "python_full_version"))
    return None if minor is None else python_specifiers(f"=={minor}.*", name, line_of(text, "python_version"))
