"""`pyproject.toml`: PEP 621 and Poetry's table. One that only configures tools declares nothing."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from flops_builder.dependencies.declaration import Declaration, Requirement, requirement
from flops_builder.dependencies.files.locked import GitSource, Wanted, extra_indexes, from_url, refuse_folder
from flops_builder.dependencies.files.requirements_txt import Contents, read_into
from flops_builder.dependencies.files.toml import line_of, python_specifiers, read_toml, strings, table, tables


def read_pyproject(folder: Path, name: str, wanted: Wanted | None = None) -> Declaration | None:
    """Reads a `pyproject.toml`; None when it declares no dependencies.

    :param wanted: extras and dependency groups (PEP 735) that are asked for beside the dependencies
    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    document, text = read_toml(folder, name)
    project = table(document, "project", name)
    poetry = table(table(document, "tool", name), "poetry", name)
    declared: Declaration | None = None
    dynamic = "dependencies" in project.get("dynamic", [])
    if "dependencies" in poetry and (dynamic or "dependencies" not in project):
        declared = _poetry(name, text, table(poetry, "dependencies", name))
        if "requires-python" in project:
            line = line_of(text, "requires-python")
            python = python_specifiers(str(project["requires-python"]), name, line)
            declared = replace(declared, python=python, python_line=line)
    elif "dependencies" in project or dynamic:
        declared = _project(folder, name, text, document, project)
    if declared is not None:
        declared = replace(
            declared,
            requirements=_from_sources(declared.requirements, document, name),
            options=(*declared.options, *_indexes(document, name)),
        )
    if wanted is None or not (wanted.extras or wanted.groups):
        return declared
    own = canonicalize_name(str(project.get("name", "")))
    extra = [
        *_chosen(project, "optional-dependencies", wanted, own, name, text),
        *_chosen(document, "dependency-groups", wanted, own, name, text),
    ]
    declared = declared or Declaration(name)
    return replace(declared, requirements=(*declared.requirements, *extra))


def _chosen(parent: dict[str, Any], key: str, wanted: Wanted, own: str, name: str, text: str) -> list[Requirement]:
    """What extras or groups bring, with those that they include."""
    there = table(parent, key, name)
    named = {canonicalize_name(each): each for each in there}
    extras = key == "optional-dependencies"
    found: list[Requirement] = []
    waiting = [canonicalize_name(each) for each in (wanted.extras if extras else wanted.groups)]
    seen = set[str]()
    while waiting:
        each = waiting.pop(0)
        if each in seen:
            continue
        seen.add(each)
        if each not in named:
            raise wanted.missing(key, each, there, wanted.extras_line if extras else wanted.groups_line)
        for entry in there[named[each]]:
            if isinstance(entry, dict):  # {include-group = "…"}
                waiting.append(canonicalize_name(str(entry.get("include-group", ""))))
                continue
            one = requirement(str(entry), name, line_of(text, str(entry)))
            if one.name == own and one.parsed.extras:  # an extra of all others: `project[train,plot]`
                waiting += [canonicalize_name(extra) for extra in sorted(one.parsed.extras)]
            else:
                found.append(one)
    return found


def _indexes(document: dict[str, Any], name: str) -> tuple[str, ...]:
    """The indexes that uv and Poetry are to ask beside their own."""
    tool = table(document, "tool", name)
    of_uv = [each for each in tables(table(tool, "uv", name), "index", name) if not each.get("default")]
    of_poetry = tables(table(tool, "poetry", name), "source", name)
    return extra_indexes(str(each.get("url", "")) for each in (*of_uv, *of_poetry))


def _from_sources(
    requirements: tuple[Requirement, ...], document: dict[str, Any], name: str
) -> tuple[Requirement, ...]:
    """The requirements with where uv takes them from: what comes from Git is not what has its name on an index."""
    sources = table(table(table(document, "tool", name), "uv", name), "sources", name)
    named = {canonicalize_name(key): value for key, value in sources.items() if isinstance(value, dict)}
    found = []
    for each in requirements:
        source = named.get(canonicalize_name(each.name), {})
        if "git" in source:
            revision = str(source.get("rev") or source.get("tag") or source.get("branch") or "")
            git = GitSource(str(source["git"]), revision, str(source.get("subdirectory", "")))
            found.append(from_url(each.parsed.name, git.address, str(each.parsed.marker or ""), name, each.line))
        elif "url" in source:
            found.append(from_url(each.parsed.name, str(source["url"]), str(each.parsed.marker or ""), name, each.line))
        elif "path" in source or "workspace" in source:
            raise refuse_folder(each.name, source.get("path", "a member of the workspace"), name, each.line)
        else:
            found.append(each)
    return tuple(found)


def _project(folder: Path, name: str, text: str, document: dict[str, Any], project: dict[str, Any]) -> Declaration:
    contents = Contents()
    listed = strings(project, "dependencies", name, text)
    contents.requirements += [requirement(each, name, line_of(text, each)) for each in listed]
    if "dependencies" in project.get("dynamic", []):
        setuptools = table(table(document, "tool", name), "setuptools", name)
        source = table(setuptools, "dynamic", name).get("dependencies", {})
        files = source.get("file", []) if isinstance(source, dict) else []
        for file in [files] if isinstance(files, str) else files:
            place = posixpath.join(posixpath.dirname(name), str(file))
            read_into(contents, folder, place, by=(name, line_of(text, "dynamic") or 1))
        if not files:
            return Declaration(name)
    python = project.get("requires-python")
    return Declaration(
        file=name,
        requirements=tuple(contents.requirements),
        constraints=tuple(contents.constraints),
        options=tuple(contents.options),
        python=None if python is None else python_specifiers(str(python), name, line_of(text, "requires-python")),
        python_line=line_of(text, "requires-python"),
        repairs=tuple(contents.repairs),
        warnings=tuple(contents.warnings),
        included=frozenset(contents.files),
    )


def _poetry(name: str, text: str, table: dict[str, Any]) -> Declaration:
    requirements: list[Requirement] = []
    python: SpecifierSet | None = None
    python_line: int | None = None
    warnings: list[str] = []
    for key, value in table.items():
        line = line_of(text, key)
        for entry in value if isinstance(value, list) else [value]:
            options = entry if isinstance(entry, dict) else {"version": entry}
            if key.lower() == "python":
                python, python_line = (
                    python_specifiers(caret(str(options.get("version", "*")), name, line), name, line),
                    line,
                )
            elif options.get("optional"):
                warnings.append(f"{name}:{line}: {key} is optional and was left out")
            else:
                requirements.append(requirement(_poetry_requirement(key, options, name, line), name, line))
    return Declaration(name, tuple(requirements), python=python, python_line=python_line, warnings=tuple(warnings))


def _poetry_requirement(key: str, options: dict[str, Any], name: str, line: int | None) -> str:
    extras = options.get("extras", [])
    text = key + (f"[{','.join(extras)}]" if extras else "")
    if "git" in options:
        revision = options.get("rev") or options.get("tag") or options.get("branch")
        text += f" @ git+{options['git']}" + (f"@{revision}" if revision else "")
    elif "url" in options:
        text += f" @ {options['url']}"
    elif "path" in options:
        raise FlopsError(
            "FLOPS-B021", f"{key} is a folder ({options['path']}), not a package of an index", file=name, line=line
        )
    else:
        text += caret(str(options.get("version", "*")), name, line)
    markers = [str(options["markers"])] if "markers" in options else []
    if "python" in options:
        limits = re.findall(r"([<>=!~]+)([^,]+)", caret(str(options["python"]), name, line))
        markers += [f'python_version {operator} "{version}"' for operator, version in limits]
    return text + (f" ; {' and '.join(f'({each})' for each in markers)}" if markers else "")


def caret(text: str, name: str, line: int | None) -> str:
    """Poetry's `^1.2` and `~1.2` as PEP 440 has it (Poetry's "Dependency specification")."""
    if "||" in text or " | " in text:
        raise FlopsError(
            "FLOPS-B021", f"{text!r}: alternatives cannot be written as one requirement", file=name, line=line
        )
    parts = []
    for raw in text.split(","):
        part = raw.strip()
        if part in {"*", ""}:
            continue
        found = re.fullmatch(r"(\^|~(?!=))\s*v?([0-9]+(?:\.[0-9]+)*)(.*)", part)
        if found:
            numbers = [int(number) for number in found.group(2).split(".")]
            if found.group(1) == "~":
                upper = [numbers[0], numbers[1] + 1] if len(numbers) > 1 else [numbers[0] + 1]
            else:
                keep = next((index for index, number in enumerate(numbers) if number), len(numbers) - 1)
                upper = [*numbers[:keep], numbers[keep] + 1]
            parts.append(f">={found.group(2)}{found.group(3)},<{'.'.join(map(str, upper))}")
        elif re.match(r"[0-9]", part):
            parts.append(f"=={part}")
        else:
            parts.append(part.replace(" ", ""))
    return ",".join(parts)
