"""`runtime.txt` and `.python-version`: the Python, where the dependency file says nothing about it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Declaration
from flops_builder.dependencies.text import read_text
from flops_builder.dependencies.toml import python_specifiers

FILES = {
    "runtime.txt": re.compile(r"^python-(\d+\.\d+(?:\.\d+)?)$"),
    ".python-version": re.compile(r"^(?:cpython-|python-?)?(\d+\.\d+(?:\.\d+)?)$"),
}
"""repo2docker's file, and that of pyenv and uv."""


def with_python(declaration: Declaration, folder: Path, prefix: str = "") -> Declaration:
    """The declaration with the Python that one of these files beside it names.

    :raises FlopsError: FLOPS-B021 when the file names none
    """
    if declaration.python is not None:
        return declaration
    for base, pattern in FILES.items():
        name = f"{prefix}{base}"
        if not (folder / name).is_file():
            continue
        written = [line.strip() for line in read_text(folder, name).split("\n") if line.strip()]
        found = pattern.match(written[0]) if written else None
        if found is None:
            if base == "runtime.txt":
                continue  # repo2docker's may be about R, too
            raise FlopsError("FLOPS-B021", f"{(written or [''])[0]!r} names no Python", file=name, line=1)
        version = found.group(1)
        text = f"=={version}" if version.count(".") > 1 else f"=={version}.*"
        return replace(declaration, python=python_specifiers(text, name, 1), python_line=1, python_file=name)
    return declaration
