"""`pyproject.toml`: PEP 621 and Poetry's table. One that only configures tools declares nothing."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from flops_builder.dependencies.declaration import Declaration, Requirement, requirement
from flops_builder.dependencies.requirements_txt import Contents, read_into
from flops_builder.dependencies.text import read_text

AT_LINE = re.compile(r"at line (\d+)")


def read_pyproject(folder: Path, name: str) -> Declaration | None:
    """Reads a `pyproject.toml`; None when it declares no dependencies.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    text = read_text(folder, name)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = AT_LINE.search(str(error))
        raise FlopsError("FLOPS-B021", str(error), file=name, line=int(found.group(1)) if found else None) from error
    project = _table(document, "project", name)
    poetry = _table(_table(document, "tool", name), "poetry", name)
    if "dependencies" in project or "dependencies" in project.get("dynamic", []):
        return _project(folder, name, text, document, project)
    if "dependencies" in poetry:
        return _poetry(name, text, _table(poetry, "dependencies", name))
    return None


def _table(parent: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    value = parent.get(key, {})
    if not isinstance(value, dict):
        raise FlopsError("FLOPS-B021", f"[{key}] is no table", file=name)
    return value


def _project(folder: Path, name: str, text: str, document: dict[str, Any], project: dict[str, Any]) -> Declaration:
    contents = Contents()
    listed = project.get("dependencies", [])
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise FlopsError(
            "FLOPS-B021", "project.dependencies is no list of strings", file=name, line=_line(text, "dependencies")
        )
    contents.requirements += [requirement(each, name, _line(text, each)) for each in listed]
    if "dependencies" in project.get("dynamic", []):
        setuptools = _table(_table(document, "tool", name), "setuptools", name)
        source = _table(setuptools, "dynamic", name).get("dependencies", {})
        files = source.get("file", []) if isinstance(source, dict) else []
        for file in [files] if isinstance(files, str) else files:
            read_into(contents, folder, str(file), by=(name, _line(text, "dynamic") or 1))
        if not files:
            return Declaration(name)
    python = project.get("requires-python")
    return Declaration(
        file=name,
        requirements=tuple(contents.requirements),
        constraints=tuple(contents.constraints),
        options=tuple(contents.options),
        python=None if python is None else _specifiers(str(python), name, _line(text, "requires-python")),
        python_line=_line(text, "requires-python"),
        repairs=tuple(contents.repairs),
        warnings=tuple(contents.warnings),
    )


def _poetry(name: str, text: str, table: dict[str, Any]) -> Declaration:
    requirements: list[Requirement] = []
    python: SpecifierSet | None = None
    python_line: int | None = None
    warnings: list[str] = []
    for key, value in table.items():
        line = _line(text, key)
        for entry in value if isinstance(value, list) else [value]:
            options = entry if isinstance(entry, dict) else {"version": entry}
            if key.lower() == "python":
                python, python_line = (
                    _specifiers(_caret(str(options.get("version", "*")), name, line), name, line),
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
        text += _caret(str(options.get("version", "*")), name, line)
    markers = [str(options["markers"])] if "markers" in options else []
    if "python" in options:
        limits = re.findall(r"([<>=!~]+)([^,]+)", _caret(str(options["python"]), name, line))
        markers += [f'python_version {operator} "{version}"' for operator, version in limits]
    return text + (f" ; {' and '.join(f'({each})' for each in markers)}" if markers else "")


def _caret(text: str, name: str, line: int | None) -> str:
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


def _specifiers(text: str, name: str, line: int | None) -> SpecifierSet:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier as error:
        raise FlopsError("FLOPS-B021", f"{text!r} says nothing about Python versions", file=name, line=line) from error


def _line(text: str, needle: str) -> int | None:
    """The line on which something stands; TOML readers do not tell."""
    for number, line in enumerate(text.split("\n"), start=1):
        if needle in line and not line.lstrip().startswith("#"):
            return number
    return None
