"""What conda brings, told to uv: a wheel for each Python package that has its name and version, and nothing else.

As requirements by address they are facts for the resolver: it neither looks for other versions of them nor for what
they need, which conda has solved already.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flops_builder.resolve.standin import write_standin


def stub_requirements(provided: Mapping[str, str], folder: Path) -> list[str]:
    """Requirements for what is there already. The same packages have the same addresses in every build.

    :param folder: where the wheels are kept
    """
    return [f"{name} @ {write_standin(folder, name, version).as_uri()}" for name, version in sorted(provided.items())]
