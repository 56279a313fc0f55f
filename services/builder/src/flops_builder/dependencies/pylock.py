"""`pylock.toml`: the lock that tools agree on (PEP 751)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flops_builder.dependencies.declaration import Declaration, Requirement
from flops_builder.dependencies.locked import from_git, from_url, pinned, refuse_folder, sorted_by_name
from flops_builder.dependencies.toml import line_of, python_specifiers, read_toml, table, tables

CHOSEN = re.compile(r"\b(extras|dependency_groups)\b")
"""In the marker of a package that only somebody who asks for it gets."""


def read_pylock(folder: Path, name: str) -> Declaration:
    """Reads a `pylock.toml`, honoured exactly.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    document, text = read_toml(folder, name)
    found = [_requirement(each, name, text) for each in tables(document, "packages", name)]
    python, line = document.get("requires-python"), line_of(text, "requires-python")
    return Declaration(
        file=name,
        requirements=sorted_by_name(each for each in found if each is not None),
        python=None if python is None else python_specifiers(str(python), name, line),
        python_line=line,
        locked=True,
    )


def _requirement(package: dict[str, Any], name: str, text: str) -> Requirement | None:
    project, marker = str(package.get("name", "")), str(package.get("marker", ""))
    line = line_of(text, f'name = "{project}"')
    directory, vcs, archive = (table(package, key, name) for key in ("directory", "vcs", "archive"))
    if CHOSEN.search(marker) or directory.get("path") == ".":
        return None
    if directory or "path" in archive or "path" in vcs:
        raise refuse_folder(project, (directory or archive or vcs).get("path"), name, line)
    if vcs:
        return from_git(project, str(vcs.get("url", "")), str(vcs.get("commit-id", "")), marker, name, line)
    if archive:
        return from_url(project, str(archive.get("url", "")), marker, name, line)
    return pinned(project, str(package.get("version", "")), marker, name, line)
