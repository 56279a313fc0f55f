"""TOML files of a repository, with the place of what is wrong in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from flops_builder.dependencies.files.text import read_text

AT_LINE = re.compile(r"at line (\d+)")


def read_toml(folder: Path, name: str) -> tuple[dict[str, Any], str]:
    """The document, and its text.

    :raises FlopsError: FLOPS-B021 with file and line when it cannot be read
    """
    text = read_text(folder, name)
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        found = AT_LINE.search(str(error))
        line = int(found.group(1)) if found else text.count("\n") + 1
        raise FlopsError("FLOPS-B021", str(error), file=name, line=line) from error


def table(parent: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    """The table of a key; empty when there is none.

    :raises FlopsError: FLOPS-B021 when it is something else
    """
    value = parent.get(key, {})
    if not isinstance(value, dict):
        raise FlopsError("FLOPS-B021", f"[{key}] is no table", file=name)
    return value


def tables(parent: dict[str, Any], key: str, name: str) -> list[dict[str, Any]]:
    """The array of tables of a key; empty when there is none.

    :raises FlopsError: FLOPS-B021 when it is something else
    """
    value = parent.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise FlopsError("FLOPS-B021", f"[[{key}]] is no list of tables", file=name)
    return value


def strings(parent: dict[str, Any], key: str, name: str, text: str) -> list[str]:
    """The list of strings of a key; empty when there is none.

    :raises FlopsError: FLOPS-B021 when it is something else
    """
    value = parent.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise FlopsError("FLOPS-B021", f"{key} is no list of strings", file=name, line=line_of(text, key))
    return value


def line_of(text: str, needle: str) -> int | None:
    """The line on which something stands; TOML readers do not tell."""
    for number, line in enumerate(text.split("\n"), start=1):
        if needle in line and not line.lstrip().startswith("#"):
            return number
    return None


def python_specifiers(text: str, name: str, line: int | None) -> SpecifierSet:
    """The Python versions that a file allows.

    :raises FlopsError: FLOPS-B021 when it says nothing about versions
    """
    try:
        return SpecifierSet(text)
    except InvalidSpecifier as error:
        raise FlopsError("FLOPS-B021", f"{text!r} says nothing about Python versions", file=name, line=line) from error
