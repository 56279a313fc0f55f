"""`uv.lock`: what uv has resolved for all platforms at once (uv's "Project structure and files")."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flops_protocol.errors import FlopsError
from packaging.utils import canonicalize_name

from flops_builder.dependencies.declaration import Declaration, Requirement
from flops_builder.dependencies.files.locked import (
    Edge,
    GitSource,
    Wanted,
    conditions,
    from_url,
    marker_text,
    other_indexes,
    pinned,
    refuse_folder,
    sorted_by_name,
)
from flops_builder.dependencies.files.toml import line_of, python_specifiers, read_toml, table, tables

OWN = frozenset({"virtual", "editable"})
CONFLICT = re.compile(r"""extra\s*==\s*['"](?:extra|group|project)-\d+-([A-Za-z0-9._-]+)['"]""")
"""How uv writes, in a marker, that an extra or group of the project is chosen which excludes another one."""


def read_uv_lock(folder: Path, name: str, wanted: Wanted) -> Declaration:
    """Reads a `uv.lock`, honoured exactly: every package of the project at its one version.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    document, text = read_toml(folder, name)
    packages = {_key(each): each for each in tables(document, "package", name)}
    own = [each for each in packages.values() if any(table(each, "source", name).get(kind) == "." for kind in OWN)]
    if not own:
        raise FlopsError("FLOPS-B021", "no package in it is the project itself (source virtual or editable)", file=name)
    (root, *_) = own
    chosen = {f"{canonicalize_name(str(root['name']))}-{each}" for each in (*wanted.extras, *wanted.groups)}
    found = conditions(
        _settled(_roots(root, wanted, packages, name, text), chosen),
        {key: _settled(edges, chosen) for key, edges in _edges(packages, name).items()},
    )
    requirements = []
    for key, condition in found.items():
        base, _, extra = key.partition("[")
        if not extra and base != _key(root):
            requirements.append(_requirement(packages[base], marker_text(condition), name, text))
    python = document.get("requires-python")
    line = line_of(text, "requires-python")
    return Declaration(
        file=name,
        requirements=sorted_by_name(requirements),
        python=None if python is None else python_specifiers(str(python), name, line),
        python_line=line,
        options=other_indexes(str(table(each, "source", name).get("registry", "")) for each in packages.values()),
        locked=True,
    )


def _key(package: dict[str, Any]) -> str:
    return f"{canonicalize_name(str(package.get('name', '')))} {package.get('version', '')}"


def _roots(
    root: dict[str, Any], wanted: Wanted, packages: dict[str, dict[str, Any]], name: str, text: str
) -> list[Edge]:
    listed = [*tables(root, "dependencies", name)]
    extras = (wanted.extras, "optional-dependencies", wanted.extras_line)
    for asked, key, line in (extras, (wanted.groups, "dev-dependencies", wanted.groups_line)):
        there = table(root, key, name)
        for each in asked:
            if each not in there:
                raise wanted.missing(key, each, there, line)
            listed += tables(there, each, name)
    return [edge for each in listed for edge in _targets(each, packages, name, line_of(text, str(each.get("name"))))]


def _settled(edges: list[Edge], chosen: set[str]) -> list[Edge]:
    """Without those of extras that are not chosen; what is left no longer says that it is of one that is."""
    settled = []
    for edge in edges:
        asked = CONFLICT.findall(edge.marker)
        if not asked:
            settled.append(edge)
        elif all(each in chosen for each in asked):
            rest = [part for part in edge.marker.split(" and ") if not CONFLICT.search(part)]
            settled.append(Edge(edge.package, " and ".join(rest)))
    return settled


def _edges(packages: dict[str, dict[str, Any]], name: str) -> dict[str, list[Edge]]:
    edges = {}
    for key, package in packages.items():
        listed = tables(package, "dependencies", name)
        edges[key] = [edge for each in listed for edge in _targets(each, packages, name, None)]
        extras = table(package, "optional-dependencies", name)
        for extra in extras:
            listed = tables(extras, extra, name)
            edges[f"{key}[{extra}]"] = [edge for each in listed for edge in _targets(each, packages, name, None)]
    return edges


def _targets(
    dependency: dict[str, Any], packages: dict[str, dict[str, Any]], name: str, line: int | None
) -> list[Edge]:
    """The package that is meant, and what its extras bring."""
    wanted, version = canonicalize_name(str(dependency.get("name", ""))), dependency.get("version")
    keys = [key for key in packages if key.split(" ")[0] == wanted and version in (None, key.split(" ")[1])]
    if not keys:
        raise FlopsError("FLOPS-B021", f"{wanted} is wanted, but not among the packages", file=name, line=line)
    marker = str(dependency.get("marker", ""))
    extras = [f"[{extra}]" for extra in dependency.get("extra", [])]
    return [Edge(f"{key}{extra}", marker) for key in keys for extra in ["", *extras]]


def _requirement(package: dict[str, Any], marker: str, name: str, text: str) -> Requirement:
    project, source = str(package["name"]), table(package, "source", name)
    line = _line(text, project)
    if "git" in source:
        url, _, commit = str(source["git"]).partition("#")
        asked = parse_qs(urlsplit(url).query)
        git = GitSource(url.partition("?")[0], commit, asked.get("subdirectory", [""])[0])
        return from_url(project, git.address, marker, name, line)
    if "url" in source:
        return from_url(project, str(source["url"]), marker, name, line)
    if "registry" not in source:
        raise refuse_folder(project, next(iter(source.values()), "unknown"), name, line)
    return pinned(project, str(package.get("version", "")), marker, name, line)


def _line(text: str, project: str) -> int | None:
    """Where a package's own table says its name; the lists of those who want it say it, too."""
    wanted = f'name = "{project}"'
    return next((number for number, line in enumerate(text.split("\n"), start=1) if line.strip() == wanted), None)
