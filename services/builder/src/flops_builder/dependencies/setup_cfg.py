"""`setup.cfg`: setuptools' declarative file."""

from __future__ import annotations

import configparser
from pathlib import Path

from flops_protocol.errors import FlopsError
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from flops_builder.dependencies.declaration import Declaration, requirement
from flops_builder.dependencies.text import read_text


def read_setup_cfg(folder: Path, name: str) -> Declaration | None:
    """Reads `[options] install_requires` and `python_requires`; None when the first is not there.

    :raises FlopsError: FLOPS-B021 when it cannot be read
    """
    text = read_text(folder, name)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        line = getattr(error, "lineno", None)
        raise FlopsError("FLOPS-B021", str(error).splitlines()[0], file=name, line=line) from error
    if not parser.has_option("options", "install_requires"):
        return None
    lines = {line.strip(): number for number, line in enumerate(text.split("\n"), start=1)}
    listed = [each.strip() for each in parser.get("options", "install_requires").split("\n") if each.strip()]
    wanted = parser.get("options", "python_requires", fallback="")
    try:
        python = SpecifierSet(wanted) if wanted else None
    except InvalidSpecifier as error:
        raise FlopsError("FLOPS-B021", f"{wanted!r} says nothing about Python versions", file=name) from error
    return Declaration(name, tuple(requirement(each, name, lines.get(each)) for each in listed), python=python)
