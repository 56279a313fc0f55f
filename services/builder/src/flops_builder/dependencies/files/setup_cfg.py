"""`setup.cfg`: setuptools' declarative file."""

from __future__ import annotations

import configparser
import posixpath
from pathlib import Path

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Declaration, requirement
from flops_builder.dependencies.files.requirements_txt import Contents, read_into
from flops_builder.dependencies.files.text import read_text
from flops_builder.dependencies.files.toml import line_of, python_specifiers


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
    written = parser.get("options", "install_requires")
    listed = [each.strip() for each in written.split("\n") if each.strip()]
    contents = Contents()
    if written.strip().startswith("file:"):
        # setuptools' "Declarative config": files with one requirement a line.
        for file in written.strip().removeprefix("file:").split(","):
            place = posixpath.join(posixpath.dirname(name), file.strip())
            read_into(contents, folder, place, by=(name, line_of(text, "install_requires") or 1))
        listed = []
    wanted = parser.get("options", "python_requires", fallback="")
    line = line_of(text, "python_requires")
    return Declaration(
        file=name,
        requirements=(*contents.requirements, *(requirement(each, name, lines.get(each)) for each in listed)),
        included=frozenset(contents.files),
        python=python_specifiers(wanted, name, line) if wanted else None,
        python_line=line,
    )
