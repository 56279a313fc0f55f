"""`conda.yaml` and `environment.yaml`, with conda's names and versions translated to PyPI's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from flops_protocol.errors import FlopsError
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from flops_builder.dependencies.conda import CondaFile, CondaSpec
from flops_builder.dependencies.declaration import Declaration, Repair, Requirement, requirement
from flops_builder.dependencies.files.requirements_txt import COMMENT, Contents, read_line
from flops_builder.dependencies.files.text import read_text
from flops_builder.dependencies.names import CONDA_TO_PYPI, NOT_PYTHON
from flops_builder.dependencies.rules import Rule

SPEC = re.compile(r"^(?:(?P<channel>[^\s:\[]+)::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)\s*(?P<rest>.*)$")
BRACKET = re.compile(r"\[(.*)\]$")
IN_BRACKET = re.compile(r"""version\s*=\s*(['"]?)(?P<version>[^'"\]]+)\1""")
PIP_ITEM = re.compile(r"^(?P<indent>\s*)-\s+pip\s*:\s*(#.*)?$")
ITEM = re.compile(r"^(?P<indent>\s*)-\s+\S")


def read_conda(folder: Path, name: str) -> Declaration | None:
    """Reads a conda environment; None when it lists no dependencies.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    text = read_text(folder, name)
    repairs: list[Repair] = []
    try:
        node = _compose(text)
    except yaml.reader.ReaderError as error:
        raise FlopsError(
            "FLOPS-B021", f"character {error.character:#x} may not be in it: {error.reason}", file=name
        ) from error
    except yaml.MarkedYAMLError as error:
        mended = _mend_indentation(text)
        try:
            node = _compose(mended[0]) if mended else None
        except yaml.MarkedYAMLError:
            mended = None
        if mended is None:
            mark = error.problem_mark or error.context_mark
            raise FlopsError(
                "FLOPS-B021", f"{error.problem or error.context}", file=name, line=mark.line + 1 if mark else None
            ) from error
        why = "the list of pip packages stood at another depth than its neighbours, which is no YAML"
        repairs.append(
            Repair(
                Rule.CONDA_INDENTATION,
                "- pip: outside of dependencies",
                "- pip: inside of dependencies",
                why,
                name,
                mended[1],
            )
        )
    items = _dependencies(node, name)
    if items is None:
        return None
    contents = Contents(repairs=repairs)
    python: SpecifierSet | None = None
    python_line: int | None = None
    specs: list[CondaSpec] = []
    pip: list[Requirement] = []
    refused: FlopsError | None = None
    for from_pip, spec, line in items:
        if from_pip:
            before = len(contents.requirements)
            for part in spec.split("\n"):
                if body := COMMENT.sub("", part).strip():
                    read_line(contents, folder, name, line, body)
            pip += contents.requirements[before:]
            continue
        specs.append(_spec(spec, name, line))
        try:
            project, version = _translate(contents, spec, name, line)
        except NotForPyPIError as error:
            refused = refused or error
            continue
        if project == "python":
            python, python_line = _specifiers(version, spec, name, line), line
        elif project is not None:
            contents.requirements.append(requirement(f"{project}{version}", name, line))
    return Declaration(
        file=name,
        requirements=tuple(contents.requirements),
        constraints=tuple(contents.constraints),
        python=python,
        python_line=python_line,
        options=tuple(contents.options),
        repairs=tuple(contents.repairs),
        warnings=tuple(contents.warnings),
        included=frozenset(contents.files),
        conda=CondaFile(tuple(specs), tuple(pip), tuple(_channels(node)), refused),
    )


class NotForPyPIError(FlopsError):
    """Raised when a conda requirement means something that PyPI's requirements cannot say."""


def _compose(text: str) -> yaml.Node | None:
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _mend_indentation(text: str) -> tuple[str, int] | None:
    """Moves a `- pip:` that MLflow-style exports leave at the wrong depth back among its neighbours."""
    lines = text.split("\n")
    start = next((index for index, line in enumerate(lines) if line.startswith("dependencies:")), None)
    if start is None:
        return None
    first = next((found for line in lines[start + 1 :] if (found := ITEM.match(line))), None)
    where = next((index for index, line in enumerate(lines) if index > start and PIP_ITEM.match(line)), None)
    if first is None or where is None:
        return None
    depth = first.group("indent")
    lines[where] = f"{depth}- pip:"
    for index in range(where + 1, len(lines)):
        if lines[index].strip() and not ITEM.match(lines[index]) and not lines[index].lstrip().startswith("#"):
            break
        if lines[index].strip():
            lines[index] = f"{depth}    {lines[index].strip()}"
    return "\n".join(lines), where + 1


def _dependencies(node: yaml.Node | None, name: str) -> list[tuple[bool, str, int]] | None:
    """(from pip, text, line) of everything below `dependencies`; None when there is no such key."""
    if not isinstance(node, yaml.MappingNode):
        raise FlopsError("FLOPS-B021", "it is no YAML mapping", file=name, line=1)
    for key, value in node.value:
        if key.value == "dependencies":
            if isinstance(value, yaml.ScalarNode) and not value.value:
                return []
            if not isinstance(value, yaml.SequenceNode):
                raise FlopsError("FLOPS-B021", "dependencies is no list", file=name, line=key.start_mark.line + 1)
            return list(_items(value, name))
    return None


def _items(sequence: yaml.SequenceNode, name: str) -> Iterator[tuple[bool, str, int]]:
    for item in sequence.value:
        line = item.start_mark.line + 1
        if isinstance(item, yaml.ScalarNode):
            yield False, item.value.strip(), line
            continue
        pairs = item.value if isinstance(item, yaml.MappingNode) else []
        if len(pairs) != 1 or pairs[0][0].value != "pip":
            raise FlopsError("FLOPS-B021", "a dependency is text, or `pip:` with a list", file=name, line=line)
        listed = pairs[0][1]
        if not isinstance(listed, yaml.SequenceNode):
            if isinstance(listed, yaml.ScalarNode) and not listed.value:
                continue
            raise FlopsError("FLOPS-B021", "`pip:` wants a list", file=name, line=line)
        for each in listed.value:
            if not isinstance(each, yaml.ScalarNode):
                raise FlopsError("FLOPS-B021", "a pip package is text", file=name, line=each.start_mark.line + 1)
            yield True, each.value.strip(), each.start_mark.line + 1


def _channels(node: yaml.Node | None) -> Iterator[str]:
    """What stands below `channels`, as far as it is text: a channel is a wish, not worth an error."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == "channels" and isinstance(value, yaml.SequenceNode):
            yield from (each.value.strip() for each in value.value if isinstance(each, yaml.ScalarNode) and each.value)


def _spec(spec: str, file: str, line: int) -> CondaSpec:
    found = SPEC.match(spec)
    if found is None:
        raise FlopsError("FLOPS-B021", f"{spec!r} is no conda requirement", file=file, line=line)
    text = spec.partition("::")[2].strip() if found.group("channel") else spec
    return CondaSpec(text, found.group("name").lower(), file, line, found.group("channel"))


def _translate(contents: Contents, spec: str, file: str, line: int) -> tuple[str | None, str]:
    """PyPI's name and versions for one conda spec (conda's "MatchSpec"); no name when it is left out."""
    found = SPEC.match(spec)
    assert found is not None  # noqa: S101 - `_spec` has looked
    conda_name, rest = found.group("name").lower(), found.group("rest").strip()
    if conda_name in NOT_PYTHON:
        why = "it is a library below Python, and wheels bring what they need of it"
        contents.repairs.append(Repair(Rule.CONDA_NOT_PYTHON, spec, None, why, file, line))
        return None, ""
    version, lost = _version(rest, spec, file, line)
    if lost:
        why = "a conda build string means nothing to PyPI"
        contents.repairs.append(Repair(Rule.CONDA_BUILD, spec, f"{conda_name}{version}", why, file, line))
    name = CONDA_TO_PYPI.get(conda_name, conda_name)
    if canonicalize_name(name) != canonicalize_name(conda_name):
        contents.repairs.append(
            Repair(Rule.CONDA_NAME, spec, f"{name}{version}", f"PyPI has conda's {conda_name} as {name}", file, line)
        )
    return name, version


def _version(rest: str, spec: str, file: str, line: int) -> tuple[str, bool]:
    """The versions as PEP 440 has them, and whether a build string was left out."""
    if bracket := BRACKET.search(rest):
        inner = IN_BRACKET.search(bracket.group(1))
        rest = inner.group("version") if inner else ""
    rest = rest.strip()
    if "|" in rest:
        raise NotForPyPIError(
            "FLOPS-B021", f"{spec!r}: alternatives cannot be written as one requirement", file=file, line=line
        )
    # `name=1.2=build`, `name 1.2 build`: three parts, of which PyPI knows two.
    parts = re.fullmatch(r"(=?)\s*([0-9][^\s=,<>!~]*)(?:\s*=\s*|\s+)([^\s=,<>!~]+)", rest)
    lost = parts is not None
    if parts is not None:
        rest = f"=={parts.group(2)}"
    translated = []
    for raw in rest.replace(" ", "").split(","):
        if raw in {"", "*", "=*", "==*"}:
            continue
        found = re.fullmatch(r"(===?|=|!=|>=|<=|~=|>|<)?(.+)", raw)
        operator, number = (found.group(1) or "", found.group(2)) if found else ("", raw)
        if operator in {"", "="}:
            # conda's single `=` is fuzzy; with three numbers it means what everybody takes it for.
            exact = number.count(".") >= 2 or number.endswith(".*")
            number = re.sub(r"(?<![.*])\*$", ".*", number) if not number.endswith(".*") else number
            operator, number = "==", number if exact or number.endswith(".*") else f"{number}.*"
        elif number.endswith("*") and operator not in {"==", "!="}:
            number = number.rstrip("*").rstrip(".")
        translated.append(f"{operator}{number}")
    return ",".join(translated), lost


def _specifiers(version: str, spec: str, file: str, line: int) -> SpecifierSet:
    try:
        return SpecifierSet(version)
    except InvalidSpecifier as error:
        raise FlopsError("FLOPS-B021", f"{spec!r} says nothing about Python versions", file=file, line=line) from error
