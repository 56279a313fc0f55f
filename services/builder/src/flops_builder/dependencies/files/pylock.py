"""`pylock.toml`: the lock that tools agree on (PEP 751)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flops_builder.dependencies.declaration import Declaration, Requirement
from flops_builder.dependencies.files.locked import (
    GitSource,
    from_url,
    other_indexes,
    pinned,
    refuse_folder,
    sorted_by_name,
)
from flops_builder.dependencies.files.toml import line_of, python_specifiers, read_toml, strings, table, tables


def read_pylock(folder: Path, name: str) -> Declaration:
    """Reads a `pylock.toml`, honoured exactly.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    document, text = read_toml(folder, name)
    groups = frozenset(strings(document, "default-groups", name, text))
    found = [_requirement(each, groups, name, text) for each in tables(document, "packages", name)]
    python, line = document.get("requires-python"), line_of(text, "requires-python")
    return Declaration(
        file=name,
        requirements=sorted_by_name(each for each in found if each is not None),
        python=None if python is None else python_specifiers(str(python), name, line),
        python_line=line,
        options=other_indexes(str(each.get("index", "")) for each in tables(document, "packages", name)),
        locked=True,
    )


def _requirement(package: dict[str, Any], groups: frozenset[str], name: str, text: str) -> Requirement | None:
    project = str(package.get("name", ""))
    marker = _chosen(str(package.get("marker", "")), groups)
    line = line_of(text, f'name = "{project}"')
    directory, vcs, archive = (table(package, key, name) for key in ("directory", "vcs", "archive"))
    if marker is None or directory.get("path") == ".":
        return None
    if directory or "path" in archive or "path" in vcs:
        raise refuse_folder(project, (directory or archive or vcs).get("path"), name, line)
    if vcs:
        commit, place = str(vcs.get("commit-id", "")), str(vcs.get("subdirectory", ""))
        return from_url(project, GitSource(str(vcs.get("url", "")), commit, place).address, marker, name, line)
    if archive:
        return from_url(project, str(archive.get("url", "")), marker, name, line)
    return pinned(project, str(package.get("version", "")), marker, name, line)


def _chosen(marker: str, groups: frozenset[str]) -> str | None:
    """The marker without what it says of groups and extras; None: only somebody who asks for one gets the package."""
    rest = []
    for part in marker.split(" and "):
        asked = re.search(r"""['"]([^'"]+)['"]\s+in\s+(dependency_groups|extras)""", part)
        if asked is None:
            rest.append(part)
        elif not any(found in groups for found in re.findall(r"""['"]([^'"]+)['"]\s+in\s+dependency_groups""", part)):
            return None
    return " and ".join(rest)
