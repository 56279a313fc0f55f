"""What conda brings, told to uv: a wheel for each Python package that has its name and version, and nothing else.

As requirements by address they are facts for the resolver: it neither looks for other versions of them nor for what
they need, which conda has solved already.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from flops_protocol.identifiers import uuid7

EPOCH = (1980, 1, 1, 0, 0, 0)


def stub_requirements(provided: Mapping[str, str], folder: Path) -> list[str]:
    """Requirements for what is there already. The same packages have the same addresses in every build.

    :param folder: where the wheels are kept
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [f"{name} @ {_wheel(name, version, folder).as_uri()}" for name, version in sorted(provided.items())]


def _wheel(name: str, version: str, folder: Path) -> Path:
    module = name.replace("-", "_")
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    if wheel.is_file():
        return wheel
    about = f"{module}-{version}.dist-info"
    files = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: flops\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"])
    new = folder / f".{uuid7()}"
    with zipfile.ZipFile(new, "w") as archive:
        for file, content in files.items():
            archive.writestr(zipfile.ZipInfo(file, EPOCH), content)
    return new.replace(wheel)
