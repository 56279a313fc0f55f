"""`poetry.lock`, of all versions: with `groups` (2.1), with `category` (1.x), and those between that have neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError
from packaging.utils import canonicalize_name

from flops_builder.dependencies.declaration import Declaration, Requirement
from flops_builder.dependencies.locked import (
    Edge,
    conditions,
    from_git,
    from_url,
    marker_text,
    pinned,
    refuse_folder,
    sorted_by_name,
)
from flops_builder.dependencies.pyproject import caret, read_pyproject
from flops_builder.dependencies.toml import line_of, python_specifiers, read_toml, table, tables


def read_poetry_lock(folder: Path, name: str) -> Declaration:
    """Reads a `poetry.lock` with the `pyproject.toml` beside it, honoured exactly.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    document, text = read_toml(folder, name)
    packages = tables(document, "package", name)
    if all("groups" in each for each in packages):
        chosen = [(each, _marker(each)) for each in packages if "main" in each["groups"] and not each.get("optional")]
    elif all("category" in each for each in packages):
        chosen = [(each, "") for each in packages if each["category"] == "main" and not each.get("optional")]
    else:
        chosen = _reachable(packages, folder, name)
    python = table(document, "metadata", name).get("python-versions")
    line = line_of(text, "python-versions")
    return Declaration(
        file=name,
        requirements=sorted_by_name(_requirement(each, marker, name, text) for each, marker in chosen),
        python=None if python in {None, "*"} else python_specifiers(caret(str(python), name, line), name, line),
        python_line=line,
        locked=True,
    )


def _marker(package: dict[str, Any]) -> str:
    markers = package.get("markers", "")
    return str(markers.get("main", "")) if isinstance(markers, dict) else str(markers)


def _reachable(packages: list[dict[str, Any]], folder: Path, name: str) -> list[tuple[dict[str, Any], str]]:
    """What the project's own dependencies want, and what those want."""
    declared = read_pyproject(folder, str(Path(name).with_name("pyproject.toml")))
    if declared is None:
        raise FlopsError("FLOPS-B021", "the pyproject.toml beside it declares no dependencies", file=name)
    named: dict[str, dict[str, Any]] = {canonicalize_name(str(each.get("name", ""))): each for each in packages}
    edges: dict[str, list[Edge]] = {key: _edges(table(each, "dependencies", name)) for key, each in named.items()}
    roots = [Edge(each.name, str(each.parsed.marker or "")) for each in declared.requirements]
    found = conditions(roots, edges)
    missing = sorted(key for key in found if key not in named)
    if missing:
        raise FlopsError("FLOPS-B021", f"{missing[0]} is wanted, but not among the packages", file=name)
    return [(named[key], marker_text(condition)) for key, condition in found.items()]


def _edges(dependencies: dict[str, Any]) -> list[Edge]:
    edges = []
    for key, value in dependencies.items():
        for entry in value if isinstance(value, list) else [value]:
            options = entry if isinstance(entry, dict) else {}
            marker = str(options.get("markers", ""))
            if not options.get("optional") and "extra ==" not in marker:
                edges.append(Edge(canonicalize_name(key), marker))
    return edges


def _requirement(package: dict[str, Any], marker: str, name: str, text: str) -> Requirement:
    project, source = str(package.get("name", "")), table(package, "source", name)
    line = line_of(text, f'name = "{project}"')
    kind, url = source.get("type"), str(source.get("url", ""))
    if kind == "git":
        return from_git(project, url, str(source.get("resolved_reference", "")), marker, name, line)
    if kind == "url":
        return from_url(project, url, marker, name, line)
    if kind in {"directory", "file"}:
        raise refuse_folder(project, url, name, line)
    return pinned(project, str(package.get("version", "")), marker, name, line)
