"""`runtime.txt` and `.python-version`: the Python, where the dependency file says nothing about it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from flops_builder.dependencies.declaration import Declaration
from flops_builder.dependencies.files.text import read_text
from flops_builder.dependencies.files.toml import python_specifiers
from flops_builder.dependencies.python import allows

FILES = {
    "runtime.txt": re.compile(r"^python-(\d+\.\d+(?:\.\d+)?)$"),
    ".python-version": re.compile(r"^(?:cpython-|python-?)?(\d+\.\d+(?:\.\d+)?)$"),
}
"""repo2docker's file, and that of pyenv and uv."""


def with_python(declaration: Declaration, folder: Path, prefix: str = "") -> Declaration:
    """The declaration with the Python that one of these files beside it names, where that is left open.

    :raises FlopsError: FLOPS-B021 when the file cannot be read
    """
    for base, pattern in FILES.items():
        name = f"{prefix}{base}"
        if not (folder / name).is_file():
            continue
        written = [line.strip() for line in read_text(folder, name).split("\n") if line.strip()]
        found = pattern.match(written[0]) if written else None
        if found is None:
            continue  # repo2docker's may be about R, and pyenv's name an environment
        version = found.group(1)
        minor = ".".join(version.split(".")[:2])
        if declaration.python is not None and not allows(declaration.python, minor):
            continue
        pins = any(each.operator in {"==", "==="} for each in declaration.python or ())
        if pins:
            continue
        text = f"=={version}" if version.count(".") > 1 else f"=={version}.*"
        return replace(declaration, python=python_specifiers(text, name, 1), python_line=1, python_file=name)
    return declaration
