"""`flops.toml`: the explicit choice, where a repository has several dependency files or none that fits."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import CondaSwitch, Declaration, requirement
from flops_builder.dependencies.files.locked import Wanted
from flops_builder.dependencies.files.toml import line_of, python_specifiers, read_toml, strings, table
from flops_builder.dependencies.rules import SWITCHED, Rule

NAME = "flops.toml"
KEYS = ("file", "requirements", "python", "extras", "groups", "repairs-off", "conda")


@dataclass(frozen=True)
class Choice:
    """What a `flops.toml` chooses."""

    file: str | None
    own: Declaration | None
    """What it declares itself; None when it names a file."""
    conda: CondaSwitch | None
    """Whether conda is to bring the environment; with neither a file nor requirements, from the first conda file."""
    python: str | None
    python_line: int | None
    wanted: Wanted
    off: frozenset[Rule]
    """Repair rules that are switched off."""
    name: str
    """The `flops.toml` itself, relative to the repository."""


def read_flops_toml(folder: Path, name: str) -> Choice | None:
    """Reads a `flops.toml`; None when it is not there, or has no `[dependencies]`.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    if not (folder / name).is_file():
        return None
    document, text = read_toml(folder, name)
    if "dependencies" not in document:
        return None
    chosen = table(document, "dependencies", name)
    unknown = [*(key for key in document if key != "dependencies"), *(key for key in chosen if key not in KEYS)]
    if unknown:
        known = f"[dependencies] has {', '.join(KEYS)}"
        raise FlopsError("FLOPS-B021", f"{unknown[0]} is not known; {known}", file=name, line=line_of(text, unknown[0]))
    conda = _conda(chosen, name, text)
    alone = conda is not None and conda.on and not {"file", "requirements"} & chosen.keys()
    if ("file" in chosen) == ("requirements" in chosen) and not alone:
        raise FlopsError("FLOPS-B021", "[dependencies] wants either `file` or `requirements`", file=name)
    off = strings(chosen, "repairs-off", name, text)
    wrong = [rule for rule in off if rule not in SWITCHED]
    if wrong:
        known = ", ".join(sorted(SWITCHED))
        raise FlopsError(
            "FLOPS-B021", f"{wrong[0]} is no rule; there are {known}", file=name, line=line_of(text, wrong[0])
        )
    return Choice(
        file=_file(folder, chosen, name, text),
        own=_own(chosen, name, text),
        conda=conda,
        python=_text(chosen, "python", name, text),
        python_line=line_of(text, "python"),
        wanted=Wanted(
            extras=tuple(strings(chosen, "extras", name, text)),
            groups=tuple(strings(chosen, "groups", name, text)),
            file=name,
            extras_line=line_of(text, "extras"),
            groups_line=line_of(text, "groups"),
        ),
        name=name,
        off=frozenset(map(Rule, off)),
    )


def _conda(chosen: dict[str, Any], name: str, text: str) -> CondaSwitch | None:
    if "conda" not in chosen:
        return None
    line = line_of(text, "conda =") or line_of(text, "conda=")
    if not isinstance(chosen["conda"], bool):
        raise FlopsError("FLOPS-B021", "conda is neither true nor false", file=name, line=line)
    if chosen["conda"] and "requirements" in chosen:
        raise FlopsError("FLOPS-B021", "conda = true wants a conda file, no requirements", file=name, line=line)
    return CondaSwitch(chosen["conda"], name, line)


def _text(chosen: dict[str, Any], key: str, name: str, text: str) -> str | None:
    value = chosen.get(key)
    if value is not None and not isinstance(value, str):
        raise FlopsError("FLOPS-B021", f"{key} is no string", file=name, line=line_of(text, key))
    return value


def _file(folder: Path, chosen: dict[str, Any], name: str, text: str) -> str | None:
    named = _text(chosen, "file", name, text)
    if named is None:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), named))
    if path.startswith(("..", "/")) or not (folder / path).is_file():
        raise FlopsError("FLOPS-B021", f"{named} is not there", file=name, line=line_of(text, "file"))
    return path


def _own(chosen: dict[str, Any], name: str, text: str) -> Declaration | None:
    if "requirements" not in chosen:
        return None
    listed = strings(chosen, "requirements", name, text)
    return Declaration(name, tuple(requirement(each, name, line_of(text, each)) for each in listed))


def chosen_python(choice: Choice, declaration: Declaration) -> Declaration:
    """The declaration with the Python of the choice, if it makes one.

    :raises FlopsError: FLOPS-B021 when it is none
    """
    if choice.python is None:
        return declaration
    python = python_specifiers(choice.python, choice.name, choice.python_line)
    return replace(declaration, python=python, python_line=choice.python_line, python_file=choice.name)
