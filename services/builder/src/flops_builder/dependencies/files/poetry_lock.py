"""`poetry.lock`: with `groups` and `markers` for each package (2.1), and those before, which say who wants what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError
from packaging.utils import canonicalize_name

from flops_builder.dependencies.declaration import Declaration, Requirement, requirement
from flops_builder.dependencies.files.locked import (
    Edge,
    GitSource,
    conditions,
    extra_indexes,
    from_url,
    marker_text,
    pinned,
    refuse_folder,
    sorted_by_name,
)
from flops_builder.dependencies.files.pyproject import caret, read_pyproject
from flops_builder.dependencies.files.toml import line_of, python_specifiers, read_toml, table, tables

EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def read_poetry_lock(folder: Path, name: str) -> Declaration:
    """Reads a `poetry.lock` with the `pyproject.toml` beside it, honoured exactly.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    document, text = read_toml(folder, name)
    packages = tables(document, "package", name)
    if all("groups" in each for each in packages):
        chosen = [(each, _marker(each)) for each in packages if "main" in each["groups"] and not each.get("optional")]
    else:
        chosen = _reachable(packages, folder, name)
    python = table(document, "metadata", name).get("python-versions")
    line = line_of(text, "python-versions")
    return Declaration(
        file=name,
        requirements=sorted_by_name(_requirement(each, marker, name, text) for each, marker in chosen),
        python=None if python in (None, "*") else python_specifiers(caret(str(python), name, line), name, line),
        python_line=line,
        options=extra_indexes(_index(table(each, "source", name)) for each, _ in chosen),
        locked=True,
    )


def _index(source: dict[str, Any]) -> str:
    """The index that a package is from, where it is not Poetry's own."""
    return str(source.get("url", "")) if source.get("type") == "legacy" else ""


def _marker(package: dict[str, Any]) -> str:
    markers = package.get("markers", "")
    return str(markers.get("main", "")) if isinstance(markers, dict) else str(markers)


def _reachable(packages: list[dict[str, Any]], folder: Path, name: str) -> list[tuple[dict[str, Any], str]]:
    """What the project's own dependencies want, and what those want, with their extras."""
    declared = read_pyproject(folder, str(Path(name).with_name("pyproject.toml")))
    if declared is None:
        raise FlopsError("FLOPS-B021", "the pyproject.toml beside it declares no dependencies", file=name)
    keyed = {f"{canonicalize_name(str(each.get('name', '')))} {each.get('version', '')}": each for each in packages}
    edges: dict[str, list[Edge]] = {}
    for key, package in keyed.items():
        for extra in ("", *table(package, "extras", name)):
            there = _edges(table(package, "dependencies", name), keyed, extra, name)
            edges[f"{key}[{extra}]" if extra else key] = there
    roots = [edge for each in declared.requirements for edge in _targets(each, keyed)]
    found = conditions(roots, edges)
    missing = sorted(key for key in found if key.partition("[")[0] not in keyed)
    if missing:
        raise FlopsError("FLOPS-B021", f"{missing[0].split()[0]} is wanted, but not among the packages", file=name)
    return [(keyed[key], marker_text(condition)) for key, condition in found.items() if "[" not in key]


def _edges(dependencies: dict[str, Any], keyed: dict[str, dict[str, Any]], extra: str, name: str) -> list[Edge]:
    """What a package wants: by itself, or for one of its extras only."""
    edges = []
    for key, value in dependencies.items():
        for entry in value if isinstance(value, list) else [value]:
            options = entry if isinstance(entry, dict) else {"version": entry}
            marker = str(options.get("markers", ""))
            asked = EXTRA.findall(marker)
            if (extra in asked) if extra else not (asked or options.get("optional")):
                plain = " and ".join(part for part in marker.split(" and ") if not EXTRA.search(part))
                text = f"{key}{_extras(options)} {_specifier(options, name)}" + (f" ; {plain}" if plain else "")
                edges += _targets(requirement(text, name), keyed)
    return edges


def _extras(options: dict[str, Any]) -> str:
    return f"[{','.join(options['extras'])}]" if options.get("extras") else ""


def _specifier(options: dict[str, Any], name: str) -> str:
    """Which versions are wanted. Alternatives (`||`) are no one requirement: then any version that is there fits."""
    version = str(options.get("version", "*"))
    return "" if version == "*" or "|" in version else caret(version, name, None)


def _targets(wanted: Requirement, keyed: dict[str, dict[str, Any]]) -> list[Edge]:
    """The packages of that name and of versions that fit, with what their extras bring."""
    marker = str(wanted.parsed.marker or "")
    there = [key for key in keyed if key.split(" ")[0] == wanted.name]
    fitting = [key for key in there if wanted.parsed.specifier.contains(key.split(" ")[1], prereleases=True)]
    extras = ["", *(f"[{canonicalize_name(extra)}]" for extra in sorted(wanted.parsed.extras))]
    return [Edge(f"{key}{extra}", marker) for key in (fitting or there or [f"{wanted.name} "]) for extra in extras]


def _requirement(package: dict[str, Any], marker: str, name: str, text: str) -> Requirement:
    project, source = str(package.get("name", "")), table(package, "source", name)
    line = line_of(text, f'name = "{project}"')
    kind, url = source.get("type"), str(source.get("url", ""))
    if kind == "git":
        commit, place = str(source.get("resolved_reference", "")), str(source.get("subdirectory", ""))
        return from_url(project, GitSource(url, commit, place).address, marker, name, line)
    if kind == "url":
        return from_url(project, url, marker, name, line)
    if kind in {"directory", "file"}:
        raise refuse_folder(project, url, name, line)
    return pinned(project, str(package.get("version", "")), marker, name, line)
