"""`flops.toml`: the explicit choice, where a repository has several dependency files or none that fits."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Declaration, requirement
from flops_builder.dependencies.locked import Wanted
from flops_builder.dependencies.repairs import RULES
from flops_builder.dependencies.toml import line_of, python_specifiers, read_toml, strings, table

NAME = "flops.toml"
KEYS = ("file", "requirements", "python", "extras", "groups", "repairs-off")
SWITCHED = frozenset({*RULES, "no-wheel", "conda-version", "numpy-1", "pkg-resources"})
"""Rules that can be switched off: those that change what was asked for."""


@dataclass(frozen=True)
class Choice:
    """What a `flops.toml` chooses."""

    file: str | None
    own: Declaration | None
    """What it declares itself; None when it names a file."""
    python: str | None
    python_line: int | None
    wanted: Wanted
    off: frozenset[str]


def read_flops_toml(folder: Path) -> Choice | None:
    """Reads the `flops.toml` of a folder; None when there is none, or it has no `[dependencies]`.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    if not (folder / NAME).is_file():
        return None
    document, text = read_toml(folder, NAME)
    if "dependencies" not in document:
        return None
    chosen = table(document, "dependencies", NAME)
    unknown = [*(key for key in document if key != "dependencies"), *(key for key in chosen if key not in KEYS)]
    if unknown:
        known = f"[dependencies] has {', '.join(KEYS)}"
        raise FlopsError("FLOPS-B021", f"{unknown[0]} is not known; {known}", file=NAME, line=line_of(text, unknown[0]))
    if ("file" in chosen) == ("requirements" in chosen):
        raise FlopsError("FLOPS-B021", "[dependencies] wants either `file` or `requirements`", file=NAME)
    off = strings(chosen, "repairs-off", NAME, text)
    wrong = [rule for rule in off if rule not in SWITCHED]
    if wrong:
        known = ", ".join(sorted(SWITCHED))
        raise FlopsError(
            "FLOPS-B021", f"{wrong[0]} is no rule; there are {known}", file=NAME, line=line_of(text, wrong[0])
        )
    return Choice(
        file=_file(folder, chosen, text),
        own=_own(chosen, text),
        python=_text(chosen, "python", text),
        python_line=line_of(text, "python"),
        wanted=Wanted(tuple(strings(chosen, "extras", NAME, text)), tuple(strings(chosen, "groups", NAME, text))),
        off=frozenset(off),
    )


def _text(chosen: dict[str, Any], key: str, text: str) -> str | None:
    value = chosen.get(key)
    if value is not None and not isinstance(value, str):
        raise FlopsError("FLOPS-B021", f"{key} is no string", file=NAME, line=line_of(text, key))
    return value


def _file(folder: Path, chosen: dict[str, Any], text: str) -> str | None:
    name = _text(chosen, "file", text)
    if name is None:
        return None
    path = posixpath.normpath(name)
    if not (folder / path).is_file():
        raise FlopsError("FLOPS-B021", f"{name} is not there", file=NAME, line=line_of(text, "file"))
    return path


def _own(chosen: dict[str, Any], text: str) -> Declaration | None:
    if "requirements" not in chosen:
        return None
    listed = strings(chosen, "requirements", NAME, text)
    return Declaration(NAME, tuple(requirement(each, NAME, line_of(text, each)) for each in listed))


def chosen_python(choice: Choice, declaration: Declaration) -> Declaration:
    """The declaration with the Python of the choice, if it makes one.

    :raises FlopsError: FLOPS-B021 when it is none
    """

    if choice.python is None:
        return declaration
    python = python_specifiers(choice.python, NAME, choice.python_line)
    return replace(declaration, python=python, python_line=choice.python_line, python_file=NAME)
