"""`requirements.txt`, as pip reads it (pip's "Requirements File Format"), with nested `-r` and `-c`."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Declaration, Repair, Requirement, requirement
from flops_builder.dependencies.files.text import read_text
from flops_builder.dependencies.rules import Rule

COMMENT = re.compile(r"(^|\s)#.*$")
PER_REQUIREMENT = re.compile(r"\s+(--hash|--config-settings?|--global-option|--install-option)[=\s]")
OWN = re.compile(r"^\.(/\.?)?(\[.*\])?$")
LOCAL = re.compile(r"^(\.{1,2}/.*|\.\.|/.*|file:.*|[^@ ]+\.(whl|zip|tar\.gz))$")
VERSION_CONTROL = re.compile(r"^(git|hg|svn|bzr)\+")
SUBDIRECTORY = re.compile(r"[#&]subdirectory=([^&]+)")
EGG = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")


@dataclass
class Contents:
    """What was gathered from a file and those that it names."""

    requirements: list[Requirement] = field(default_factory=list)
    constraints: list[Requirement] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    """What was read on the way."""


def read_requirements(folder: Path, name: str) -> Declaration | None:
    """Reads a requirements file.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    contents = Contents()
    read_into(contents, folder, name)
    return Declaration(
        file=name,
        requirements=tuple(contents.requirements),
        constraints=tuple(contents.constraints),
        options=tuple(contents.options),
        repairs=tuple(contents.repairs),
        warnings=tuple(contents.warnings),
        included=frozenset(contents.files - {name}),
    )


def read_into(
    contents: Contents,
    folder: Path,
    name: str,
    *,
    constraints: bool = False,
    by: tuple[str, int] | None = None,
    above: tuple[str, ...] = (),
) -> None:
    """Adds what a file says; `by` is the file and line that named it, `above` the files that led to it.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    if name in above:
        raise FlopsError(
            "FLOPS-B021", f"{name} includes itself", file=by[0] if by else name, line=by[1] if by else None
        )
    contents.files.add(name)
    for line, text in logical_lines(read_text(folder, name, by=by[0] if by else None, line=by[1] if by else None)):
        read_line(contents, folder, name, line, text, constraints=constraints, above=above)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, with continued ones joined, and the number of their first."""
    joined, first = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        first = first if joined else number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            joined += line[:-1] + " "
            continue
        whole = COMMENT.sub("", joined + line).strip()
        joined = ""
        if whole:
            yield first, whole
    if rest := COMMENT.sub("", joined).strip():
        yield first, rest


def read_line(
    contents: Contents,
    folder: Path,
    name: str,
    line: int,
    text: str,
    *,
    constraints: bool = False,
    above: tuple[str, ...] = (),
) -> None:
    """Adds what one logical line says.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    if text.startswith("-"):
        _read_option(contents, folder, name, line, text, constraints=constraints, above=above)
        return
    body = PER_REQUIREMENT.split(text, maxsplit=1)[0].strip()
    if OWN.match(body):
        contents.repairs.append(_own_package(body, name, line))
        return
    if LOCAL.match(body):
        raise FlopsError(
            "FLOPS-B021",
            f"{body} is a folder or file, not a package of an index: name the package, and the folder of its wheel "
            "with --find-links",
            file=name,
            line=line,
        )
    if VERSION_CONTROL.match(body):
        # pip's old form, before `name @ git+https://…` (PEP 508).
        found = EGG.search(body)
        if found is None:
            raise FlopsError(
                "FLOPS-B021", f"{body} does not say which package it is: write `name @ {body}`", file=name, line=line
            )
        place = SUBDIRECTORY.search(body)
        body = f"{found.group(1)} @ {body.partition('#')[0]}" + (f"#subdirectory={place.group(1)}" if place else "")
    wanted = requirement(body, name, line)
    (contents.constraints if constraints else contents.requirements).append(wanted)


def _read_option(
    contents: Contents, folder: Path, name: str, line: int, text: str, *, constraints: bool, above: tuple[str, ...]
) -> None:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise FlopsError("FLOPS-B021", f"{text!r}: {error}", file=name, line=line) from error
    option, _, value = words[0].partition("=")
    if option[:2] in {"-r", "-c", "-e", "-i", "-f"} and len(option) > 2 and not option.startswith("--"):
        option, value = option[:2], option[2:]
    value = value or (words[1] if len(words) > 1 else "")
    match option:
        case "-r" | "--requirement" | "-c" | "--constraint":
            if not value or "://" in value:
                raise FlopsError("FLOPS-B021", f"{text!r} does not name a file of the repository", file=name, line=line)
            nested = posixpath.normpath(posixpath.join(posixpath.dirname(name), value))
            only_limits = constraints or option in {"-c", "--constraint"}
            read_into(contents, folder, nested, constraints=only_limits, by=(name, line), above=(*above, name))
        case "-e" | "--editable":
            read_line(contents, folder, name, line, value, constraints=constraints, above=above)
        case "-i" | "--index-url" | "--extra-index-url":
            contents.options.append(f"--extra-index-url={value}")
        case "-f" | "--find-links":
            contents.options.append(f"--find-links={_place(folder, name, line, value)}")
        case "--pre":
            contents.options.append("--prerelease=allow")
        case (
            "--no-binary"
            | "--only-binary"
            | "--prefer-binary"
            | "--require-hashes"
            | "--no-index"
            | "--trusted-host"
            | "--use-feature"
        ):
            contents.warnings.append(f"{name}:{line}: {text} has no effect: every package is installed from a wheel")
        case _:
            raise FlopsError("FLOPS-B021", f"the option {option} is not known", file=name, line=line)


def _place(folder: Path, name: str, line: int, value: str) -> str:
    """A folder of wheels in the repository by its absolute path, or a URL."""
    if "://" in value:
        return value
    place = (folder / posixpath.dirname(name) / value).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise FlopsError("FLOPS-B021", f"{value} lies outside of the repository", file=name, line=line)
    return str(place)


def _own_package(text: str, name: str, line: int) -> Repair:
    return Repair(
        Rule.OWN_PACKAGE, text, None, "the repository's own code is on the path without being installed", name, line
    )
