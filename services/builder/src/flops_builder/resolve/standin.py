"""Wheels of nothing but metadata: facts for the resolver, of what is or will be there without being installed."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from flops_protocol.identifiers import uuid7

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first moment that a ZIP archive can tell: the same metadata gives the same bytes."""


def write_standin(
    folder: Path, name: str, version: str, requires: Sequence[str] = (), tag: str = "py3-none-any"
) -> Path:
    """A wheel with this metadata in a folder; the one that is there already, if it is.

    :param name: normalised
    """
    module = name.replace("-", "_")
    wheel = folder / f"{module}-{version}-{tag}.whl"
    if wheel.is_file():
        return wheel
    about = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: flops\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{uuid7()}"
    with zipfile.ZipFile(new, "w") as archive:
        for file, content in files.items():
            archive.writestr(zipfile.ZipInfo(file, EPOCH), content)
    return new.replace(wheel)
